"""The request of the browser: two sentences and the word that was clicked on, read from the address of the page and checked."""

from typing import NamedTuple, Optional
from urllib.parse import parse_qs, urlencode

from allennlp_elmo_plus.errors import InputError, truncated_repr

MAX_WORDS = 60


class Request(NamedTuple):
    """What to show. Attribute names are the names in the address.

    Attributes:
        first: the words of the sentence.
        second: the words of the sentence beside it; empty for none.
        word: the sentence, 0 or 1, and the position of the word that was clicked on.
    """

    first: tuple[str, ...]
    second: tuple[str, ...] = ()
    word: Optional[tuple[int, int]] = None

    @property
    def sentences(self) -> list[tuple[str, ...]]:
        """Return the sentences that are there."""
        return [sentence for sentence in (self.first, self.second) if sentence]

    def address(self) -> str:
        """Return the address of the page of this request."""
        values = {"first": " ".join(self.first), "second": " ".join(self.second)}
        if self.word is not None:
            values["word"] = f"{self.word[0]}.{self.word[1]}"
        return "/?" + urlencode({key: value for key, value in values.items() if value})


def typed_text(query: str) -> dict[str, str]:
    """Return the values in `query`, the part of an address after the question mark, as they were typed."""
    return {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True, errors="replace").items()}


def read_request(typed: dict[str, str]) -> Request:
    """Return the request in `typed`, a result of `typed_text`.

    Raises:
        InputError: a sentence has too many words or is missing, or there is no such word.
    """
    sentences = [tuple(typed.get(name, "").split()) for name in ("first", "second")]
    for name, sentence in zip(("sentence", "second sentence"), sentences, strict=True):
        if len(sentence) > MAX_WORDS:
            raise InputError(f"the {name} must have at most {MAX_WORDS} words, got {len(sentence)}")
    if not sentences[0]:
        raise InputError("the sentence must have at least one word, got none")
    word = None
    if "word" in typed:
        number, _, position = typed["word"].partition(".")
        words = {str(index): sentence for index, sentence in enumerate(sentences)}.get(number, ())
        if position not in map(str, range(len(words))):
            raise InputError(
                f"`word` must be the number of a sentence and of a word, got {truncated_repr(typed['word'])}"
            )
        word = int(number), int(position)
    return Request(sentences[0], sentences[1], word)
