import pytest

from allennlp_elmo_plus.errors import (
    InputError,
    check_at_least,
    count_in_words,
    format_bytes,
    format_duration,
    one_line_message,
)


@pytest.mark.parametrize(
    "num_bytes, text",
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_600, "1.00 MB"),
        (1_250_000_000, "1.25 GB"),
        (123_456_789_000, "123 GB"),
        (5e18, "5000 PB"),
    ],
)
def test_numbers_of_bytes_have_three_digits_and_a_unit(num_bytes, text):
    assert format_bytes(num_bytes) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.2, "0 s"),
        (59.6, "1 min"),
        (62, "1 min 2 s"),
        (3600, "1 h"),
        (3 * 3600 + 125, "3 h 2 min"),
        (2 * 86400 + 59, "2 d"),
        (-5, "0 s"),
    ],
)
def test_durations_have_at_most_two_units(seconds, text):
    assert format_duration(seconds) == text


def test_the_noun_after_a_count_is_singular_or_plural():
    assert [count_in_words(number, "word") for number in (0, 1, 2, 1234)] == [
        "0 words",
        "1 word",
        "2 words",
        "1,234 words",
    ]
    assert [count_in_words(number, "batch", "batches") for number in (1, 2)] == ["1 batch", "2 batches"]


def test_a_number_below_one_is_named() -> None:
    check_at_least(1, dim=1, num_layers=None)
    with pytest.raises(InputError, match="^`num_layers` must be at least 1, got 0$"):
        check_at_least(1, dim=1, num_layers=0)


def test_the_message_of_an_error_is_one_short_line():
    assert one_line_message(OSError("first\n  second\tline\n")) == "first second line"
    assert one_line_message(OSError("x" * 1000)) == "x" * 300
    assert one_line_message(EOFError()) == "EOFError"
