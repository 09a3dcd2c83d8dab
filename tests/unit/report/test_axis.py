"""The axes of charts: ticks inside of the range, and labels that differ and are short."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.report.axis import MAX_TICKS, MAX_WHOLE_TICKS, Axis, axis_of, linear_axis

values = st.lists(st.one_of(st.floats(-1e9, 1e9), st.floats(1e-9, 1e-3), st.just(0.0)), min_size=1, max_size=5)


def check(axis: Axis, numbers: list[float], max_ticks: int) -> None:
    assert all(0 <= axis.relative(number) <= 1 for number in [*numbers, *axis.ticks])
    assert len(axis.ticks) <= max_ticks
    assert len(set(axis.labels)) == len(axis.labels) == len(axis.ticks)


@settings(deadline=None)
@given(values)
@example([5e-324])
def test_ticks_are_inside_of_the_axis_and_their_labels_differ(numbers: list[float]) -> None:
    check(axis_of(numbers), numbers, MAX_TICKS)
    check(linear_axis(numbers, whole=True), numbers, MAX_WHOLE_TICKS)
    assert all(tick == int(tick) for tick in linear_axis(numbers, whole=True).ticks)


@pytest.mark.parametrize(
    "numbers, labels",
    [
        # A label of four digits would be the same five times.
        ([1412.1, 1412.5], ["1,412.1", "1,412.2", "1,412.3", "1,412.4", "1,412.5"]),
        ([229_000, 229_800], ["229.0k", "229.2k", "229.4k", "229.6k", "229.8k"]),
        ([0.5, 3], ["0.5", "1.0", "1.5", "2.0", "2.5", "3.0"]),
        ([5, 100], ["5", "10", "20", "50", "100"]),
        ([3, 1e7], ["10", "100", "1,000", "10,000", "100k", "1M", "10M"]),
        ([1e-9, 1e9], ["1e-09", "1e-06", "0.001", "1", "1,000", "1M", "1G"]),
        ([1.0, 1.0], ["0.6", "0.8", "1.0", "1.2", "1.4"]),
    ],
)
def test_labels_have_the_digits_that_they_need(numbers: list[float], labels: list[str]) -> None:
    assert axis_of(numbers).labels == labels


@pytest.mark.parametrize(
    "numbers, labels",
    [([1, 1], ["1"]), ([1, 3], ["1", "2", "3"]), ([1, 12], ["5", "10"]), ([100, 3900], ["1,000", "2,000", "3,000"])],
)
def test_epochs_and_batches_have_whole_ticks(numbers: list[float], labels: list[str]) -> None:
    assert linear_axis(numbers, whole=True).labels == labels
