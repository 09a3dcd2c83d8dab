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
from overrides import overrides

from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD, check_sentence
from allennlp_elmo_plus.data.text.text_files import check_encoding_errors, iter_sentences
from allennlp_elmo_plus.plugin.data.token_indexers.characters_indexer import BilmCharactersIndexer
from allennlp_elmo_plus.plugin.data.vocabulary import TOKENS_NAMESPACE
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams


class SentenceInstance(Instance):
    """The instance of one sentence: a `TextField` called `source` that holds `<S>`, the words and `</S>`.

    The field is built when it is first read. Counting words, or sending the instance to another process, needs no field, and an
    instance without it takes the memory of its words only.
    """

    __slots__ = ["words", "_token_indexers", "_fields"]

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.indexed = False  # type: ignore[misc]  # a slot of the base class
        self._token_indexers: Optional[dict[str, TokenIndexer]] = None
        self._fields: Optional[dict[str, Field]] = None

    # An attribute of the base class, which `overrides` does not compare.
    @property
    def fields(self) -> dict[str, Field]:
        """Return the field `source`, built at the first call."""
        if self._fields is None:
            tokens = [Token(BOS_WORD), *map(Token, self.words), Token(EOS_WORD)]
            self._fields = {"source": TextField(tokens, self._token_indexers)}
        return self._fields

    def apply_token_indexers(self, token_indexers: dict[str, TokenIndexer]) -> None:
        """Set the indexers of the field `source`."""
        self._token_indexers = token_indexers
        if self._fields is not None:
            self._fields["source"].token_indexers = token_indexers

    @overrides
    def count_vocab_items(self, counter: dict[str, dict[str, int]]) -> None:
        """Count the words in the namespace `tokens`, where the model looks up its targets whatever the indexers of its input are.

        Indexers that use another namespace count there too.
        """
        counts = counter[TOKENS_NAMESPACE]
        for word in self.words:
            counts[word] += 1
        counts[BOS_WORD] += 1
        counts[EOS_WORD] += 1
        for indexer in filter(_counts_more, (self._token_indexers or {}).values()):
            for token in self.fields["source"]:
                indexer.count_vocab_items(token, counter)

    # pickle would otherwise set the base class's slot `fields`, which the property above hides.
    def __getstate__(self) -> tuple[Any, ...]:
        return self.words, self.indexed, self._token_indexers, self._fields

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.words, self.indexed, self._token_indexers, self._fields = state  # type: ignore[misc]


def _counts_more(indexer: TokenIndexer) -> bool:
    """Return whether `indexer` counts anything but words in the namespace `tokens`."""
    return not isinstance(indexer, BilmCharactersIndexer) and getattr(indexer, "namespace", None) != TOKENS_NAMESPACE


@DatasetReader.register("bilm")
class BilmReader(StrictFromParams, DatasetReader):
    """Reads plain text, one sentence per line, words separated by white space; each sentence becomes a `SentenceInstance`.

    The data path is a file, a directory, a glob, several of these separated by commas, or `-` for standard input; see
    `allennlp_elmo_plus.data.text.text_files`.

    Args:
        token_indexers: by default "bilm_characters" under the name `characters` and "single_id" under the name `tokens`.
        encoding_errors: "strict" refuses bytes that are not UTF-8, "replace" reads them as U+FFFD.
        max_instances: the maximum number of sentences.
        serialization_dir: passed by AllenNLP.
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
        """Return whether a vocabulary needs only the counts of the words of a text."""
        return not any(map(_counts_more, self.token_indexers.values()))

    @overrides
    def _read(self, file_path: str) -> Iterator[Instance]:
        sentences = iter_sentences(file_path, self.encoding_errors)
        # `shard_iterable` asks torch for the rank, which a spawned worker process does not know.
        rank, worker = self.get_distributed_info(), self.get_worker_info()
        first, step = (rank.global_rank, rank.world_size) if rank else (0, 1)
        if worker:
            first, step = first + step * worker.id, step * worker.num_workers
        return map(SentenceInstance, islice(sentences, first, None, step))

    # The base class takes `*inputs`; each reader names its own.
    @overrides(check_signature=False)
    def text_to_instance(self, words: list[str]) -> Instance:
        """Return the instance of the sentence `words`, a list of strings without `<S>` and `</S>`."""
        check_sentence(words, "words")
        return SentenceInstance(list(words))

    @overrides
    def apply_token_indexers(self, instance: Instance) -> None:
        if isinstance(instance, SentenceInstance):
            instance.apply_token_indexers(self.token_indexers)
        else:
            instance["source"].token_indexers = self.token_indexers
