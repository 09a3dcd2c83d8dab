"""The dataset reader `bilm`."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Optional

from allennlp.data.dataset_readers import DatasetReader
from allennlp.data.fields import TextField
from allennlp.data.fields.field import Field
from allennlp.data.instance import Instance
from allennlp.data.token_indexers import SingleIdTokenIndexer, TokenIndexer
from allennlp.data.tokenizers import Token

from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD, check_sentence
from allennlp_elmo_plus.data.text.text_files import check_encoding_errors, iter_sentences
from allennlp_elmo_plus.plugin.data.token_indexers.characters_indexer import BilmCharactersIndexer
from allennlp_elmo_plus.plugin.data.vocabulary import TOKENS_NAMESPACE
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams


class SentenceInstance(Instance):
    """The instance of one sentence: a `TextField` called `source` that holds `<S>`, the words and `</S>`.

    The field is built when it is first asked for, since counting words, sending the instance to another process or
    leaving it unused needs none: an instance takes the memory of its words until then.
    """

    __slots__ = ["words", "_token_indexers", "_fields"]

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.indexed = False  # type: ignore[misc]  # a slot of the base class
        self._token_indexers: Optional[dict[str, TokenIndexer]] = None
        self._fields: Optional[dict[str, Field]] = None

    @property
    def fields(self) -> dict[str, Field]:
        if self._fields is None:
            tokens = [Token(BOS_WORD), *map(Token, self.words), Token(EOS_WORD)]
            self._fields = {"source": TextField(tokens, self._token_indexers)}
        return self._fields

    def apply_token_indexers(self, token_indexers: dict[str, TokenIndexer]) -> None:
        self._token_indexers = token_indexers
        if self._fields is not None:
            self._fields["source"].token_indexers = token_indexers

    def count_vocab_items(self, counter: dict[str, dict[str, int]]) -> None:
        """Counts the words in the namespace `tokens`, where the model looks its targets up whatever the indexers of its
        input are, and lets indexers that keep to another namespace count there.
        """
        counts = counter[TOKENS_NAMESPACE]
        for word in self.words:
            counts[word] += 1
        counts[BOS_WORD] += 1
        counts[EOS_WORD] += 1
        for indexer in filter(_counts_more, (self._token_indexers or {}).values()):
            for token in self.fields["source"]:
                indexer.count_vocab_items(token, counter)

    # The slot `fields` of the base class is hidden by the property above, which pickle would otherwise try to set.
    def __getstate__(self) -> tuple[Any, ...]:
        return self.words, self.indexed, self._token_indexers, self._fields

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.words, self.indexed, self._token_indexers, self._fields = state  # type: ignore[misc]


def _counts_more(indexer: TokenIndexer) -> bool:
    """Whether `indexer` counts anything but words in the namespace `tokens`."""
    return not isinstance(indexer, BilmCharactersIndexer) and getattr(indexer, "namespace", None) != TOKENS_NAMESPACE


@DatasetReader.register("bilm")
class BilmReader(StrictFromParams, DatasetReader):
    """Reads plain text, one sentence a line, words separated by white space.

    Registered as a `DatasetReader` with name "bilm". The data path is a file, a directory, a glob, several of these
    separated by commas, or `-` for standard input; see `allennlp_elmo_plus.data.text.text_files`. Each sentence becomes a
    `SentenceInstance`.

    # Parameters

    token_indexers : `dict[str, TokenIndexer]`, optional
        By default `bilm_characters` under the name `characters` and `single_id` under the name `tokens`.
    encoding_errors : `str`, optional (default = `"strict"`)
        `"strict"` refuses bytes that are not UTF-8, `"replace"` reads them as U+FFFD.
    max_instances : `int`, optional
        Stop after this many sentences.
    """

    def __init__(
        self,
        token_indexers: Optional[dict[str, TokenIndexer]] = None,
        encoding_errors: str = "strict",
        max_instances: Optional[int] = None,
        serialization_dir: Optional[str] = None,
    ) -> None:
        super().__init__(
            max_instances=max_instances,
            manual_distributed_sharding=True,
            manual_multiprocess_sharding=True,
            serialization_dir=serialization_dir,
        )
        check_encoding_errors(encoding_errors)
        self.encoding_errors = encoding_errors
        self.token_indexers = token_indexers or {
            "characters": BilmCharactersIndexer(),
            "tokens": SingleIdTokenIndexer(namespace=TOKENS_NAMESPACE),
        }

    def counts_words_only(self) -> bool:
        """Whether a vocabulary needs no more of a text than how often each word occurs."""
        return not any(map(_counts_more, self.token_indexers.values()))

    def _read(self, file_path: str) -> Iterator[Instance]:
        sentences = iter_sentences(file_path, self.encoding_errors)
        # Not `shard_iterable`, which asks torch for the rank and so misses it in a worker process that was spawned.
        rank, worker = self.get_distributed_info(), self.get_worker_info()
        first, step = (rank.global_rank, rank.world_size) if rank else (0, 1)
        if worker:
            first, step = first + step * worker.id, step * worker.num_workers
        return map(SentenceInstance, islice(sentences, first, None, step))

    def text_to_instance(self, words: list[str]) -> Instance:
        """The instance of the sentence `words`, without `<S>` and `</S>`. Raises `InputError` for what is no list of strings."""
        check_sentence(words, "words")
        return SentenceInstance(list(words))

    def apply_token_indexers(self, instance: Instance) -> None:
        if isinstance(instance, SentenceInstance):
            instance.apply_token_indexers(self.token_indexers)
        else:
            instance["source"].token_indexers = self.token_indexers
