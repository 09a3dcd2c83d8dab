"""The colours and tooltips of a heat map."""

import re

import numpy as np

from allennlp_elmo_plus.explore.heat_map import heat_map


def cells_of(html: str) -> list[tuple[str, str]]:
    """Return the opacity and the tooltip of each cell, row by row."""
    return re.findall(r'fill-opacity="([\d.]+)"><title>(.*?)</title>', html)


def test_the_larger_the_value_the_darker_the_cell() -> None:
    html = heat_map(np.array([[0.1, 0.5, 0.9], [0.3, 0.7, 0.2]]), ["a", "b"], ["x", "y", "<"])
    assert cells_of(html) == [
        ("0.000", "a, x: 0.100"),
        ("0.500", "a, y: 0.500"),
        ("1.000", "a, &lt;: 0.900"),
        ("0.250", "b, x: 0.300"),
        ("0.750", "b, y: 0.700"),
        ("0.125", "b, &lt;: 0.200"),
    ]
    assert "Cosine, from 0.10 (light) to 0.90 (dark)" in html


def test_the_diagonal_of_a_sentence_with_itself_does_not_set_the_scale() -> None:
    html = heat_map(np.array([[1.0, 0.2, 0.4], [0.2, 1.0, 0.6], [0.4, 0.6, 1.0]]), ["a", "b", "c"], None)
    opacities = [opacity for opacity, _ in cells_of(html)]
    assert opacities == ["1.000", "0.000", "0.500", "0.000", "1.000", "1.000", "0.500", "1.000", "1.000"]
    assert "Cosine, from 0.20 (light) to 0.60 (dark)" in html
    assert cells_of(heat_map(np.array([[1.0]]), ["a"], None)) == [("0.000", "a, a: 1.000")]


def test_a_long_word_is_complete_in_the_tooltip_only() -> None:
    html = heat_map(np.array([[0.5]]), ["x" * 14], ["y" * 15])
    assert f">{'x' * 14}</text>" in html and f">{'y' * 13}…</text>" in html
    assert cells_of(html)[0][1] == f"{'x' * 14}, {'y' * 15}: 0.500"
