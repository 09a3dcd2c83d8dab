"""The page of minimal pairs."""

from allennlp_elmo_plus.inference.scoring.minimal_pairs import Accuracy
from allennlp_elmo_plus.report.pairs_page import Block, pairs_page


def test_a_page_has_a_bar_for_each_phenomenon_and_score() -> None:
    rows = {"a & b": Accuracy(4, {"forward": 0.75, "both": 1.0}), "all": Accuracy(8, {"forward": 0.5, "both": 0.25})}
    page = pairs_page("<model>", [Block("words in the vocabulary", rows)])
    assert "<h1>Minimal pairs: &lt;model&gt;</h1>" in page and "<h2>words in the vocabulary</h2>" in page
    assert page.count("<h3>") == 2 and page.count("<rect") == page.count(">a &amp; b<") * 2 == 4
    for value in ("0.750", "1.000", "0.500", "0.250"):
        assert page.count(f">{value}<") == 1
