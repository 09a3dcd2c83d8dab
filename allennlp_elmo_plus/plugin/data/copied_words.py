"""A biLM's words in the vocabulary of the model that uses the biLM, so that the model's archive needs no other file."""

from collections.abc import Callable
from typing import Optional

from allennlp.common.checks import ConfigurationError
from allennlp.data.vocabulary import DEFAULT_OOV_TOKEN, DEFAULT_PADDING_TOKEN, Vocabulary

# AllenNLP's own tokens at the beginning of a namespace: padding, and the word for unknown words.
_NUM_TOKENS_OF_ALLENNLP = 2

# A word of the biLM that is spelled like one of AllenNLP's own tokens would get the id of that token. No word holds a space.
_ESCAPES = {DEFAULT_PADDING_TOKEN: "@@ PADDING @@", DEFAULT_OOV_TOKEN: "@@ UNKNOWN @@"}
_WORDS_OF_ESCAPES = {escape: word for word, escape in _ESCAPES.items()}


class CopiedWords:
    """The words of a biLM in one namespace of a vocabulary.

    Args:
        namespace: the namespace.
        required: a word that every such list holds.
        read: reads the words from the biLM's files; called once, and not at all where a vocabulary holds the namespace.
    """

    def __init__(self, namespace: str, required: str, read: Callable[[], list[str]]) -> None:
        self._namespace = namespace
        self._required = required
        self._read_files = read
        self._words: Optional[list[str]] = None

    def count(self, counter: dict[str, dict[str, int]]) -> None:
        """Count each word once more than the word after it, so that the words keep their order. No words make no namespace."""
        if self._namespace not in counter and (words := self._read()):
            counter[self._namespace].update(
                {_ESCAPES.get(word, word): len(words) - row for row, word in enumerate(words)}
            )

    def is_in(self, vocabulary: Vocabulary) -> bool:
        """Return whether `vocabulary` holds the namespace."""
        return self._namespace in vocabulary.get_namespaces()

    def words_of(self, vocabulary: Vocabulary) -> list[str]:
        """Return the words in their order: from `vocabulary`, or from the files where `vocabulary` lacks the namespace.

        Raises:
            ConfigurationError: `vocabulary` has lost words of the namespace, or their order.
        """
        if not self.is_in(vocabulary):
            return self._read()
        tokens = vocabulary.get_index_to_token_vocabulary(self._namespace)
        words = [_word_of(tokens[index]) for index in range(len(tokens))]
        if vocabulary.is_padded(self._namespace):
            words = words[_NUM_TOKENS_OF_ALLENNLP:]
        if self._required not in words or (self._words is not None and words != self._words):
            raise ConfigurationError(
                f"the vocabulary must keep all words of the namespace `{self._namespace}`, in their order: "
                "`max_vocab_size` and `min_count` must not hold for it"
            )
        return words

    def _read(self) -> list[str]:
        if self._words is None:
            self._words = self._read_files()
        return self._words


def _word_of(token: str) -> str:
    """Return the word of the biLM for a vocabulary's `token`; in a saved one AllenNLP reads `@@NEWLINE@@` as a line end."""
    return _WORDS_OF_ESCAPES.get(token, token).replace("\n", "@@NEWLINE@@")
