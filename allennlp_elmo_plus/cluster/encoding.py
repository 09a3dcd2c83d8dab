"""Encode a corpus on a cluster, one task per file."""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Union

from allennlp_elmo_plus.cluster.shards import ShardRunner, shard_files
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus
from allennlp_elmo_plus.data.corpus.merge import merge_corpora
from allennlp_elmo_plus.data.text.characters import DEFAULT_MAX_CHARACTERS

_SHARDS = "shards"


def encode_shards(
    spec: Union[str, "os.PathLike[str]"],
    cache_directory: Union[str, "os.PathLike[str]"],
    runner: ShardRunner,
    report: Callable[[int], object],
    encoding_errors: str = "strict",
    max_characters: int = DEFAULT_MAX_CHARACTERS,
) -> EncodedCorpus:
    """Return the corpus that `open_or_encode` returns, with the same bytes, encoded by the workers of `runner`, one file each.

    Finished shards are kept below `cache_directory` until all are finished: after an interruption only the others are encoded.
    Each file of `spec` must have at least one word. `cache_directory` must be the same for all workers. `report` is called with the
    size of each finished shard, in bytes.

    Raises:
        InputError: `open_or_encode` or `shard_files` refuses a file.
    """
    sources = shard_files(spec)
    # Another text may be encoded into the same cache at the same time.
    name = hashlib.blake2b(os.fsencode(spec), digest_size=8).hexdigest()
    shards = Path(cache_directory).absolute() / _SHARDS / name

    def encode(
        spec: Union[str, "os.PathLike[str]"], directory: Path, encoding_errors: str, max_characters: int
    ) -> None:
        encode_one = partial(
            _encode_shard, cache_directory=shards, encoding_errors=encoding_errors, max_characters=max_characters
        )
        encoded: dict[int, Path] = {}
        for index, shard in runner.run(encode_one, sources):
            encoded[index] = shard
            report(os.path.getsize(sources[index]))
        merge_corpora([EncodedCorpus(encoded[index], max_characters) for index in sorted(encoded)], directory)

    corpus = open_or_encode(spec, cache_directory, encoding_errors, max_characters, encode)
    shutil.rmtree(shards, ignore_errors=True)
    with suppress(OSError):  # Shards of another text are there.
        shards.parent.rmdir()
    return corpus


def _encode_shard(source: Path, cache_directory: Path, encoding_errors: str, max_characters: int) -> Path:
    return open_or_encode(source, cache_directory, encoding_errors, max_characters).directory
