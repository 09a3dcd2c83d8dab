"""Sentences and words of raw text."""

import sys
from typing import Optional

import pytest

from allennlp_elmo_plus.data.text.raw.segmentation import Segmenter
from allennlp_elmo_plus.errors import InputError

pytest.importorskip("spacy")


def split(language: Optional[str], *paragraphs: str) -> list[str]:
    """Return the sentences of a document."""
    (sentences,) = Segmenter(language).split([list(paragraphs)])
    return sentences


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "paragraph", "sentences"),
    [
        ("en", "Mr. Hill doesn't pay $3.50. He (she?) left!", ["Mr. Hill does n't pay $ 3.50 .", "He ( she ? )", "left !"]),
        ("en", 'He said: "No." "Why?" (Yes.) End', ['He said : " No . "', '" Why ? "', "( Yes . )", "End"]),
        ("en", "Really?! — Yes.", ["Really ? !", "— Yes ."]),
        ("fr", "« Quoi ? » Il part.", ["« Quoi ? »", "Il part ."]),
        ("de", "„Ja.“ Er kommt z. B. im Mai.", ["„ Ja . “", "Er kommt z. B. im Mai ."]),
        ("zh", "这是书。他说。", ["这 是 书 。", "他 说 。"]),
        ("xx", "यह क्या है। वह है।", ["यह क्या है ।", "वह है ।"]),
        (None, "We don't split . Here ! ok.", ["We don't split .", "Here !", "ok."]),
    ],
)  # fmt: skip
def test_a_paragraph_is_split_into_sentences_and_words(language: str, paragraph: str, sentences: list[str]) -> None:
    assert split(language, paragraph) == sentences


def test_a_sentence_ends_with_its_paragraph() -> None:
    assert split("en", "A title", "It rains.") == ["A title", "It rains ."]
    assert Segmenter("en").split([["It rains."], [], ["No"]]) == [["It rains ."], [], ["No"]]


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("klingon", "`--language` must be a language code of spaCy, such as en, or xx for any other .*, got klingon"),
        ("", "`--language` must be a language code of spaCy, such as en, or xx for any other .*, got"),
    ],
)
def test_an_unknown_language_is_refused(language: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Segmenter(language)


def test_a_missing_segmenter_of_a_language_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    with pytest.raises(
        InputError, match=r"`--language ja` needs a library .*SudachiPy.*; or use `--language xx`.*`--tokenized`"
    ):
        Segmenter("ja")


def test_without_spacy_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(InputError, match="^sentences are split by spaCy, which is not installed: `pip install spacy`$"):
        Segmenter("en")
