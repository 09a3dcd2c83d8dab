"""Line charts and bar charts: the drawn points and bars have the positions and lengths of their values."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.report import chart
from allennlp_elmo_plus.report.chart import (
    Curve,
    bar_chart,
    format_number,
    line_chart,
    thinned,
)

values = st.one_of(st.floats(-1e9, 1e9), st.sampled_from([0.0, 1.0, math.nan, math.inf]))
curves = st.lists(st.lists(st.tuples(st.integers(1, 10**6).map(float), values), max_size=40), max_size=3)


def parse(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<all>{picture}</all>")


def points_of(line: ElementTree.Element) -> list[tuple[float, float]]:
    """Return the coordinates of an SVG polyline."""
    points = [point.split(",") for point in line.get("points", "").split()]
    return [(float(x), float(y)) for x, y in points]


@settings(deadline=None, max_examples=40)
@given(curves)
def test_all_points_of_a_chart_lie_inside_of_its_frame(lists: list[list[tuple[float, float]]]) -> None:
    picture = line_chart([Curve(f"<{number}>", points) for number, points in enumerate(lists)], "x", "<y>")
    finite = [[point for point in points if all(map(math.isfinite, point))] for points in lists]
    if not any(finite):
        assert picture == ""
        return
    root = parse(picture)
    assert len(root.findall("svg/polyline")) == sum(len(points) > 1 for points in finite)
    for line in root.findall("svg/polyline"):
        for x, y in points_of(line):
            assert 0 <= x <= chart.WIDTH and 0 <= y <= chart.HEIGHT


def test_larger_values_are_higher_and_later_values_further_right() -> None:
    root = parse(line_chart([Curve("loss", [(1, 5.0), (2, 3.0), (3, 4.0)])], "epoch", "nats"))
    xs, ys = zip(*points_of(root.find("svg/polyline")), strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2) and xs[0] < xs[1]
    assert ys[0] < ys[2] < ys[1] and ys[1] - ys[2] == pytest.approx(ys[2] - ys[0], abs=0.2)


def test_values_over_a_wide_range_are_drawn_on_a_logarithmic_axis() -> None:
    picture = line_chart([Curve("perplexity", [(1, 10.0), (2, 100.0), (3, 1000.0)])], "epoch", "perplexity")
    ys = [y for _, y in points_of(parse(picture).find("svg/polyline"))]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert "perplexity (logarithmic)" in picture
    assert "(logarithmic)" not in line_chart([Curve("a", [(1, 10.0), (2, 100.0)])], "epoch", "y")


def test_a_legend_names_several_curves() -> None:
    points = [(1.0, 1.0), (2.0, 2.0)]
    assert "legend" not in line_chart([Curve("only", points)], "x", "y")
    legend = parse(line_chart([Curve("a<b", points), Curve("c", points)], "x", "y")).find("p")
    assert ["".join(span.itertext()) for span in legend] == ["a<b", "c"]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=2000))
@settings(deadline=None, max_examples=20)
def test_thinning_keeps_the_mean(points: list[tuple[float, float]]) -> None:
    thinned_points = thinned(points)
    assert len(thinned_points) <= chart.MAX_POINTS
    size = math.ceil(len(points) / chart.MAX_POINTS) or 1
    weights = [min(size, len(points) - start) for start in range(0, len(points), size)]
    total = sum(y * weight for (_, y), weight in zip(thinned_points, weights, strict=True))
    assert total == pytest.approx(sum(y for _, y in points), abs=1e-6)


def test_the_lengths_of_bars_are_proportional_to_their_values() -> None:
    root = parse(bar_chart([("characters", 0.25), ("layer <1>", 0.5), ("layer 2", 0.0)]))
    widths = [float(bar.get("width")) for bar in root.findall("svg/rect")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2) and widths[2] == 0
    texts = [text.text for text in root.findall("svg/text")]
    assert texts == ["characters", "0.250", "layer <1>", "0.500", "layer 2", "0.000"]


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (7.0, "7"),
        (123.456, "123.5"),
        (12345.6, "12,346"),
        (0.00012345, "0.0001234"),
        (math.inf, "inf"),
        (10**400, str(10**400)),
    ],
)
def test_numbers_have_at_most_four_digits_or_are_whole(value: float, text: str) -> None:
    assert format_number(value) == text


def test_a_chart_has_no_colours_of_its_own() -> None:
    assert not re.search(r"#[0-9a-f]{3,6}|style=", line_chart([Curve("a", [(1, 1), (2, 3)])], "x", "y"))
