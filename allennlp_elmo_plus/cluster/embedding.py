"""A corpus of tokenized text -> files of vectors, each of its files a shard, by the processes of a cluster."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Union

from allennlp_elmo_plus.cluster.shards import ShardRunner, shard_files
from allennlp_elmo_plus.data.text.tokenized_file import TokenizedFile
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.embed_file import (
    EmbedSettings,
    described_settings,
    embed_file,
    weights_digest,
)
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.inference.embedder_files import EmbedderFiles, load_embedder
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from allennlp_elmo_plus.storage.resumable_hdf5 import check_new

_MANIFEST = "shards.json"


class EmbeddedShards(NamedTuple):
    """Of all shards, those of earlier runs too."""

    num_shards: int
    num_sentences: int
    num_words: int


def embed_shards(
    spec: Union[str, "os.PathLike[str]"],
    directory: Union[str, "os.PathLike[str]"],
    files: EmbedderFiles,
    settings: EmbedSettings,
    runner: ShardRunner,
    report: Callable[[int], object],
) -> EmbeddedShards:
    """`embed_file`, and the same files, of each file that `spec` names to one of its name and the format's suffix in `directory`, by a
    worker of `runner`, for which all files must lie where they do for the caller. `report` is called with the bytes of each shard
    done.

    A run that was broken off goes on where it was, within a shard too. Raises InputError where `directory` holds shards of another
    biLM, of other settings or of a text that has changed since, where two files have one name, and what `embed_file` raises.
    """
    sources = shard_files(spec)
    targets = [Path(directory).absolute() / f"{source.name}.{settings.output_format}" for source in sources]
    for number, target in enumerate(targets):
        if target in targets[:number]:
            raise InputError(f"`{os.fspath(spec)}`: two files are called {target.stem}, and both would go to {target}")
    Path(directory).mkdir(parents=True, exist_ok=True)
    run = {"biLM": weights_digest(_embedder(files).encoder), **described_settings(settings)}
    manifest = _Manifest(Path(directory), run, targets)
    todo = []
    for source, target in zip(sources, targets, strict=True):
        if manifest.has(source, target):
            report(os.path.getsize(source))
        else:
            todo.append((source, target))
    embed_one = partial(_embed_shard, files=files, settings=settings)
    for place, scan in runner.results(embed_one, todo):
        source, target = todo[place]
        manifest.add(target, scan)
        report(os.path.getsize(source))
    return manifest.totals(targets)


class _Manifest:
    """Which shards of a directory are done, kept there."""

    def __init__(self, directory: Path, run: dict[str, Any], targets: list[Path]) -> None:
        self._path = directory / _MANIFEST
        self._content: dict[str, Any] = {"run": run, "shards": {}}
        if not self._path.exists():
            for target in targets:
                check_new(target)
            # Before there is a shard: one that is done, but not written down, is then known as ours.
            self._write()
        else:
            try:
                found = json.loads(self._path.read_text("utf-8"))
                former, _ = found["run"], found["shards"].items()
            except (ValueError, KeyError, TypeError, AttributeError):
                raise InputError(f"{self._path}: must be what embedding shards wrote, and is damaged") from None
            for name, value in run.items():
                if former.get(name) != value:
                    raise InputError(
                        f"{directory}: holds shards of a run with another {name}; write to another directory"
                    )
            self._content = found

    def has(self, source: Path, target: Path) -> bool:
        """Whether `target` is there, of this text."""
        entry = self._content["shards"].get(target.name)
        if entry is None or not target.exists():
            return False
        if TokenizedFile(source).scan().digest != entry["text"]:
            raise InputError(
                f"{target}: holds the vectors of another text than {source} has now; remove it, or write elsewhere"
            )
        return True

    def add(self, target: Path, entry: dict[str, Any]) -> None:
        self._content["shards"][target.name] = entry
        self._write()

    def totals(self, targets: list[Path]) -> EmbeddedShards:
        entries = [self._content["shards"][target.name] for target in targets]
        return EmbeddedShards(len(entries), *(sum(each[name] for each in entries) for name in ("sentences", "words")))

    def _write(self) -> None:
        with atomic_path(self._path) as temporary:
            temporary.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")


def _embed_shard(shard: tuple[Path, Path], files: EmbedderFiles, settings: EmbedSettings) -> dict[str, Any]:
    source, target = shard
    # Whole, but its worker, or the run that asked for it, ended before that was written down.
    Path(os.path.realpath(target)).unlink(missing_ok=True)
    embedder = _embedder(files)
    embedder.encoder.forget_words()
    scan = embed_file(embedder, source, target, settings, _silently)
    return {"text": scan.digest, "sentences": scan.num_sentences, "words": scan.num_words}


@contextmanager
def _silently(what: str, unit: str, total: int, done: int) -> Iterator[Callable[[int], object]]:
    yield lambda steps: None


@lru_cache(maxsize=1)
def _embedder(files: EmbedderFiles) -> ElmoEmbedder:
    """Kept for the other shards that come to this process."""
    return load_embedder(files)
