"""Split paragraphs into sentences and words, by the rules that spaCy has for each language. spaCy is imported when it is used."""

from collections.abc import Sequence
from typing import Any, Optional

from allennlp_elmo_plus.data.text.raw.documents import Document
from allennlp_elmo_plus.errors import InputError

ANY_LANGUAGE = "xx"


class Segmenter:
    """Splits paragraphs into sentences and words.

    A sentence ends at a word that is one of spaCy's sentence-final characters (`Sentencizer.default_punct_chars`). Punctuation that
    follows without a space belongs to the sentence too, and so does a closing quotation mark or bracket after a space. Other
    punctuation after a space begins the next sentence; spaCy's `Sentencizer` would leave it at the end of this one.

    Args:
        language: A code of spaCy's languages, such as "en"; "xx" has rules for any language that separates words by spaces. None
            keeps the words that white space separates.

    Raises:
        InputError: spaCy is not installed, does not know the language, or needs another library for it.
    """

    def __init__(self, language: Optional[str]) -> None:
        try:
            import spacy
            from spacy.pipeline import Sentencizer
            from spacy.tokens import Doc
        except ModuleNotFoundError:
            raise InputError("sentences are split by spaCy, which is not installed: `pip install spacy`") from None
        try:
            self._pipeline = spacy.blank(ANY_LANGUAGE if language is None else language)
        except ImportError as error:
            raise InputError(_explain(str(language), str(error))) from None
        vocab = self._pipeline.vocab
        if language is None:
            self._pipeline.tokenizer = lambda text: Doc(vocab, words=text.split(), spaces=[False] * len(text.split()))
        self._final_marks = frozenset(Sentencizer.default_punct_chars)

    def split(self, documents: Sequence[Document]) -> list[list[str]]:
        """Return the sentences of each document, with one space between their words."""
        # What spaCy stores for each distinct word is freed at the end of the block.
        with self._pipeline.memory_zone():
            return [
                [sentence for paragraph in document for sentence in self._sentences(paragraph)]
                for document in documents
            ]

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each of `texts`."""
        return [" ".join(sentences).split() for sentences in self.split([[text] for text in texts])]

    def _sentences(self, paragraph: str) -> list[str]:
        tokens = self._pipeline.make_doc(paragraph)
        words = [token.text for token in tokens]
        starts = [0]
        has_ended = False
        for index, word in enumerate(words):
            if word in self._final_marks:
                has_ended = True
            elif has_ended and not _belongs_to_sentence_before(tokens, index):
                starts.append(index)
                has_ended = False
        return [" ".join(words[start:end]) for start, end in zip(starts, [*starts[1:], len(words)])]


def _belongs_to_sentence_before(tokens: Any, index: int) -> bool:
    """Return whether the token after a sentence-final character, or after such a token, is of the same sentence."""
    token = tokens[index]
    # A straight quotation mark is both kinds for spaCy.
    is_closing = token.is_right_punct and not token.is_left_punct
    return token.is_punct and (is_closing or not tokens[index - 1].whitespace_)


def _explain(language: str, message: str) -> str:
    if "[E048]" in message:
        return (
            f"`--language` must be a language code of spaCy, such as en, or {ANY_LANGUAGE} for any other language that separates words by "
            f"spaces, got {language}"
        )
    return (
        f"`--language {language}` needs a library that is not installed: {message.rstrip('.')}; or use `--language {ANY_LANGUAGE}`, whose "
        "words end at spaces and punctuation; or separate the words by spaces with another program, for `elmo-plus prepare` with "
        "`--tokenized`"
    )
