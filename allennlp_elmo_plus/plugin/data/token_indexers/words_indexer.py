"""The token indexer `bilm_words`."""

from typing import Optional

from allennlp.common.checks import ConfigurationError
from allennlp.data.token_indexers import TokenIndexer
from allennlp.data.token_indexers.token_indexer import IndexedTokenList
from allennlp.data.tokenizers import Token
from allennlp.data.vocabulary import DEFAULT_OOV_TOKEN, DEFAULT_PADDING_TOKEN, Vocabulary
from overrides import overrides

from allennlp_elmo_plus.data.text.characters import UNK_WORD, check_words
from allennlp_elmo_plus.data.text.vocabulary import look_up_words
from allennlp_elmo_plus.formats.archive import read_words
from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams

_KEY = "tokens"
# AllenNLP's own tokens at the beginning of a namespace: padding, and the word for unknown words.
_NUM_TOKENS_OF_ALLENNLP = 2

# A word of the biLM that is spelled like one of AllenNLP's own tokens would get the id of that token. No word holds a space.
_ESCAPES = {DEFAULT_PADDING_TOKEN: "@@ PADDING @@", DEFAULT_OOV_TOKEN: "@@ UNKNOWN @@"}
_WORDS_OF_ESCAPES = {escape: word for word, escape in _ESCAPES.items()}


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
        self._words: Optional[list[str]] = None
        self._ids: dict[str, int] = {}

    @overrides
    def count_vocab_items(self, token: Token, counter: dict[str, dict[str, int]]) -> None:
        """Count each word of the biLM once more than the word after it, so that the words keep their order."""
        if not counter[self._namespace]:
            words = self._read()
            counter[self._namespace].update(
                {_ESCAPES.get(word, word): len(words) - row for row, word in enumerate(words)}
            )

    @overrides
    def tokens_to_indices(self, tokens: list[Token], vocabulary: Vocabulary) -> IndexedTokenList:
        if not self._ids:
            words = self._words_of(vocabulary)
            self._ids = {word: row for row, word in enumerate(words, start=1)}
        words = [token.text for token in tokens]
        check_words(words, "tokens")
        return {_KEY: look_up_words(words, self._ids)}

    @overrides
    def get_empty_token_list(self) -> IndexedTokenList:
        return {_KEY: []}

    def _words_of(self, vocabulary: Vocabulary) -> list[str]:
        if self._namespace not in vocabulary.get_namespaces():
            return self._read()
        tokens = vocabulary.get_index_to_token_vocabulary(self._namespace)
        words = [_word_of(tokens[index]) for index in range(len(tokens))]
        if vocabulary.is_padded(self._namespace):
            words = words[_NUM_TOKENS_OF_ALLENNLP:]
        if UNK_WORD not in words or (self._words is not None and words != self._words):
            raise ConfigurationError(
                f"the vocabulary must keep all words of the namespace `{self._namespace}`, in their order: "
                "`max_vocab_size` and `min_count` must not hold for it"
            )
        return words

    def _read(self) -> list[str]:
        if self._words is None:
            if self._vocab_file is None:
                raise ConfigurationError(
                    f"`vocab_file` must be given, as the vocabulary has no namespace `{self._namespace}`"
                )
            self._words = read_words(local_path(self._vocab_file))
        return self._words


def _word_of(token: str) -> str:
    """Return the word of the biLM for a vocabulary's `token`; in a saved one AllenNLP reads `@@NEWLINE@@` as a line end."""
    return _WORDS_OF_ESCAPES.get(token, token).replace("\n", "@@NEWLINE@@")
