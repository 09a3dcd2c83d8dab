"""The encoding of a corpus shard by shard, each of its files one, by the processes of a cluster."""

import os
import shutil
from collections.abc import Callable
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
    """`open_or_encode`, and the same bytes, with each file that `spec` names encoded by a worker of `runner`, for which
    `cache_directory` and the files must lie where they do for the caller. `report` is called with the bytes of each shard done.

    Shards that are done are kept below `cache_directory` until all are: a run that was broken off encodes only the others. A
    shard without a word is refused, other than among the files of one process. Else raises what `open_or_encode` raises.
    """
    sources = shard_files(spec)
    shards = Path(cache_directory).absolute() / _SHARDS

    def encode(
        spec: Union[str, "os.PathLike[str]"], directory: Path, encoding_errors: str, max_characters: int
    ) -> None:
        encode_one = partial(
            _encode_shard, cache_directory=shards, encoding_errors=encoding_errors, max_characters=max_characters
        )
        found: dict[int, Path] = {}
        for place, shard in runner.results(encode_one, sources):
            found[place] = shard
            report(os.path.getsize(sources[place]))
        merge_corpora([EncodedCorpus(found[place], max_characters) for place in sorted(found)], directory)

    corpus = open_or_encode(spec, cache_directory, encoding_errors, max_characters, encode)
    shutil.rmtree(shards, ignore_errors=True)
    return corpus


def _encode_shard(source: Path, cache_directory: Path, encoding_errors: str, max_characters: int) -> Path:
    return open_or_encode(source, cache_directory, encoding_errors, max_characters).directory
