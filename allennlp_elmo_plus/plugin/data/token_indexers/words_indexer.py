"""The token indexer `bilm_words`."""

from typing import Optional

from allennlp.common.checks import ConfigurationError
from allennlp.data.token_indexers import TokenIndexer
from allennlp.data.token_indexers.token_indexer import IndexedTokenList
from allennlp.data.tokenizers import Token
from allennlp.data.vocabulary import Vocabulary
from overrides import overrides

from allennlp_elmo_plus.data.text.characters import UNK_WORD, check_words
from allennlp_elmo_plus.data.text.vocabulary import look_up_words
from allennlp_elmo_plus.formats.archive import read_words
from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.plugin.data.copied_words import CopiedWords
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams

_KEY = "tokens"


@TokenIndexer.register("bilm_words")
class BilmWordsIndexer(StrictFromParams, TokenIndexer):
    """Gives the ids that words have in the vocabulary of a biLM of word input, counted from 1; other words are `<UNK>`.

    The vocabulary of the model that uses the biLM does not matter: a word that the biLM knows gets its vector even where the
    training text lacks it. The words are copied into the model's vocabulary, so that its archive needs no `vocab_file`.

    Args:
        vocab_file: the biLM's vocabulary: the vocab.txt of an export, or its model.tar.gz; a path or a URL. Needed unless the
            model's vocabulary, from an archive, holds the words.
        namespace: of the words in the model's vocabulary.
        token_min_padding_length: see `TokenIndexer`.
    """

    def __init__(
        self, vocab_file: Optional[str] = None, namespace: str = "bilm_words", token_min_padding_length: int = 0
    ) -> None:
        super().__init__(token_min_padding_length)
        self._vocab_file = vocab_file
        self._namespace = namespace
        self._words = CopiedWords(namespace, UNK_WORD, self._read)
        self._ids: dict[str, int] = {}

    @overrides
    def count_vocab_items(self, token: Token, counter: dict[str, dict[str, int]]) -> None:
        """Count the words of the biLM, see `CopiedWords`; `token` is ignored."""
        self._words.count(counter)

    @overrides
    def tokens_to_indices(self, tokens: list[Token], vocabulary: Vocabulary) -> IndexedTokenList:
        if not self._ids:
            self._ids = {word: row for row, word in enumerate(self._words.words_of(vocabulary), start=1)}
        words = [token.text for token in tokens]
        check_words(words, "tokens")
        return {_KEY: look_up_words(words, self._ids)}

    @overrides
    def get_empty_token_list(self) -> IndexedTokenList:
        return {_KEY: []}

    def _read(self) -> list[str]:
        if self._vocab_file is None:
            raise ConfigurationError(
                f"`vocab_file` must be given, as the vocabulary has no namespace `{self._namespace}`"
            )
        return read_words(local_path(self._vocab_file))
