"""The page for what was typed: links that lead on, a line for bad input, and no text that becomes HTML."""

import re
from html import unescape
from urllib.parse import urlsplit

import pytest

from allennlp_elmo_plus.explore.explorer import Explorer, Surprisal
from allennlp_elmo_plus.explore.page import explore_page
from allennlp_elmo_plus.explore.request import MAX_WORDS, Request, read_request, typed_text
from tests.unit.report.test_page import HOSTILE, Page

SENTENCE = "the mill turns ."


def links_of(html: str) -> dict[str, str]:
    """Return the address of each link by its text."""
    return {
        unescape(text): unescape(address) for address, text in re.findall(r'<a[^>]* href="([^"]*)">(.*?)</a>', html)
    }


def test_a_request_has_one_address() -> None:
    for request in (
        Request(("a", "&", "나비")),
        Request(("a=b", "c"), ("#", "%41"), (1, 1)),
        Request(("a",), (), (0, 0)),
    ):
        assert read_request(typed_text(urlsplit(request.address()).query)) == request


def test_the_page_opens_with_a_sentence_of_the_text(explorer: Explorer) -> None:
    page = Page(explore_page(explorer, "runs/bilm", {}))
    assert ("value", "and the mill turns and turns and turns .") in page.attributes
    for expected in ("runs/bilm", "20 words of text", "Surprisal of each word", "given the words after", "Layer 2"):
        assert expected in page.text, expected
    assert page.tags.count("svg") == 3 and "The word" not in page.text


def test_words_that_are_certain_have_no_bars(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "surprisal", lambda words: Surprisal([0.0] * 5, [0.0] * 5))
    assert "width: 0.0%" in explore_page(explorer, "x", {"first": SENTENCE})


def test_a_click_on_a_word_and_then_on_a_substitute_compares_two_sentences(explorer: Explorer) -> None:
    html = explore_page(explorer, "x", {"first": SENTENCE})
    assert list(links_of(html)) == SENTENCE.split()
    html = explore_page(explorer, "x", typed_text(urlsplit(links_of(html)["mill"]).query))
    page = Page(html)
    for expected in ("The word “mill”", "Substitutes, given the words before", "Neighbours in context", "<UNK>"):
        assert expected in page.text, expected
    assert ("class", "chosen") in page.attributes
    typed = typed_text(urlsplit(links_of(html)["river"]).query)
    assert typed == {"first": SENTENCE, "second": "the river turns ."}
    page = Page(explore_page(explorer, "x", typed))
    assert page.text.count("Perplexity: forward") == 2 and page.tags.count("svg") == 3


def test_a_biLM_without_a_softmax_and_a_text_has_a_page(explorer_without_softmax: Explorer) -> None:
    page = Page(explore_page(explorer_without_softmax, "x", {"first": SENTENCE, "word": "0.1"}))
    assert "This biLM has no softmax, so it predicts no words." in page.text
    assert page.tags.count("svg") == 3 and "The word" not in page.text and "Neighbours" not in page.text
    page = Page(explore_page(explorer_without_softmax, "x", {}))
    assert "input" in page.tags and "svg" not in page.tags


@pytest.mark.parametrize(
    "typed, message",
    [
        ({"first": " "}, "the sentence must have at least one word, got none"),
        ({"second": "a"}, "the sentence must have at least one word, got none"),
        ({"first": "a " * (MAX_WORDS + 1)}, f"the sentence must have at most {MAX_WORDS} words, got {MAX_WORDS + 1}"),
        ({"first": "a", "second": "b " * 99}, f"the second sentence must have at most {MAX_WORDS} words, got 99"),
        *(
            ({"first": "a b", "word": word}, f"`word` must be the number of a sentence and of a word, got {word!r}")
            for word in ("", "0", "0.2", "1.0", "0.-1", "2.0", "0.00", "x.y")
        ),
    ],
)
def test_bad_input_gets_a_line(typed: dict[str, str], message: str, explorer: Explorer) -> None:
    html = explore_page(explorer, "x", typed)
    assert f'role="alert">{message}<' in unescape(html)
    assert "svg" not in Page(html).tags


def test_text_is_escaped(explorer: Explorer) -> None:
    html = explore_page(explorer, HOSTILE, {"first": f"{HOSTILE} the", "second": HOSTILE, "word": "0.0"})
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "srcset")]
    assert all(address.startswith("/?") for address in links_of(html).values())


def test_a_long_word_and_any_script_has_a_page(explorer: Explorer) -> None:
    typed = typed_text(f"first={'x' * 300}+나비+%ED%A0%80+🙂&word=0.2")
    assert "The word “\ufffd\ufffd\ufffd”" in Page(explore_page(explorer, "x", typed)).text
