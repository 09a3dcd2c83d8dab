"""Embed a corpus of tokenized text on a cluster, one task and one file of vectors per file of text."""

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Union

from allennlp_elmo_plus.cluster.shards import ShardRunner, shard_files
from allennlp_elmo_plus.data.text.tokenized_file import TokenizedFile
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.embed_file import EmbedSettings, describe_settings, embed_file
from allennlp_elmo_plus.inference.embedder import EmbedderFiles, load_embedder
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from allennlp_elmo_plus.storage.resumable_hdf5 import check_new
from allennlp_elmo_plus.storage.run_lock import hold

_MANIFEST = "shards.json"


class EmbeddedShards(NamedTuple):
    """The size of a corpus, in its shards."""

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
    """Embed each file that `spec` names with `embed_file`, by the workers of `runner`.

    The file of a shard has the shard's name and the suffix of the format. An interrupted run is resumed, also within a shard. The
    files of text have distinct names. `directory` is created if missing, and must be the same for all workers; all workers must be
    able to read `files`. `report` is called with the size of each finished shard, in bytes.

    Returns:
        The size of the corpus, with the shards of earlier runs.

    Raises:
        InputError: `directory` holds shards of another biLM, of other settings or of a text that has changed since, or another run
            writes to it; two files have the same name; or `embed_file` refuses a file.
    """
    sources = shard_files(spec)
    targets = [Path(directory).absolute() / f"{source.name}.{settings.output_format}" for source in sources]
    for number, target in enumerate(targets):
        if target in targets[:number]:
            raise InputError(
                f"`{os.fspath(spec)}`: two files have the name {target.stem}, and the vectors of both would go to {target}"
            )
    Path(directory).mkdir(parents=True, exist_ok=True)
    lock = hold(directory)
    digest = load_embedder(files).digest()
    run = {"biLM": digest, **describe_settings(settings)}
    manifest = _Manifest(Path(directory), run, targets)
    todo = []
    for source, target in zip(sources, targets, strict=True):
        if manifest.has(source, target):
            report(os.path.getsize(source))
        else:
            todo.append((source, target))
    embed_one = partial(_embed_shard, files=files, digest=digest, settings=settings)
    for index, scan in runner.run(embed_one, todo):
        source, target = todo[index]
        lock.check()
        manifest.add(target, scan)
        report(os.path.getsize(source))
    return manifest.totals(targets)


class _Manifest:
    """The file `shards.json` of a directory, which lists its finished shards."""

    def __init__(self, directory: Path, run: dict[str, Any], targets: list[Path]) -> None:
        self._path = directory / _MANIFEST
        self._content: dict[str, Any] = {"run": run, "begun": [], "shards": {}}
        if self._path.exists():
            try:
                content = json.loads(self._path.read_text("utf-8"))
                former, _ = content["run"], content["shards"].items()
            except (ValueError, KeyError, TypeError, AttributeError):
                raise InputError(f"{self._path}: must be the list of finished shards, got a damaged file") from None
            for name, value in run.items():
                if former.get(name) != value:
                    raise InputError(
                        f"{directory}: holds shards of a run with another {name}; write to another directory"
                    )
            self._content = content
        begun = self._content.setdefault("begun", list(self._content["shards"]))
        for target in targets:
            if target.name not in begun:
                check_new(target)
                begun.append(target.name)
        # Written before the first shard: a finished shard that is not listed yet can then only come from this run.
        self._write()

    def has(self, source: Path, target: Path) -> bool:
        """Return whether `target` exists and is the finished shard of `source`.

        Raises:
            InputError: `source` has changed since.
        """
        entry = self._content["shards"].get(target.name)
        if entry is None or not target.exists():
            return False
        if TokenizedFile(source).scan().digest != entry["text"]:
            raise InputError(
                f"{target}: holds the vectors of an earlier text of {source}; remove it, or write to another directory"
            )
        return True

    def add(self, target: Path, entry: dict[str, Any]) -> None:
        """List `target` as finished, and write the file."""
        self._content["shards"][target.name] = entry
        self._write()

    def totals(self, targets: list[Path]) -> EmbeddedShards:
        """Return the size of the shards `targets`."""
        entries = [self._content["shards"][target.name] for target in targets]
        return EmbeddedShards(len(entries), *(sum(entry[name] for entry in entries) for name in ("sentences", "words")))

    def _write(self) -> None:
        with atomic_path(self._path) as temporary:
            temporary.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")


def _embed_shard(
    shard: tuple[Path, Path], files: EmbedderFiles, digest: str, settings: EmbedSettings
) -> dict[str, Any]:
    source, target = shard
    # A file that exists is complete, but the run was interrupted before it was listed.
    Path(os.path.realpath(target)).unlink(missing_ok=True)
    embedder = _embedder(files)
    if embedder.digest() != digest:
        # The files have changed since this worker read them.
        _embedder.cache_clear()
        embedder = _embedder(files)
        if embedder.digest() != digest:
            raise InputError(
                f"{files.path}: a worker reads another biLM from these files than the program that started it"
            )
    embedder.encoder.forget_words()
    scan = embed_file(embedder, source, target, settings, lambda *_: nullcontext(lambda steps: None))
    return {"text": scan.digest, "sentences": scan.num_sentences, "words": scan.num_words}


# A process keeps its embedder for its next shards.
_embedder = lru_cache(maxsize=1)(load_embedder)
