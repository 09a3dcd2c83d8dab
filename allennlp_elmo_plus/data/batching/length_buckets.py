"""Sentences -> batches of sentences of like length, drawn from a window of the text."""

from collections.abc import Iterable, Iterator, Sequence

# `<S>` and `</S>`
NUM_BOUNDARIES = 2


def windows_of(sentences: Iterable[Sequence[str]], max_tokens: int) -> Iterator[list[Sequence[str]]]:
    """Consecutive sentences in lists of at most `max_tokens` tokens, their words and sentence boundaries, or of one sentence that has
    more.
    """
    window: list[Sequence[str]] = []
    num_tokens = 0
    for sentence in sentences:
        size = len(sentence) + NUM_BOUNDARIES
        if window and num_tokens + size > max_tokens:
            yield window
            window, num_tokens = [], 0
        window.append(sentence)
        num_tokens += size
    if window:
        yield window


def batches_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """The places of sentences of `lengths` words, in batches of at most `max_tokens` tokens, or of one sentence that has more.

    Sentences of like length come together, the longest first, so that the LSTM's steps have many rows to the last. Nothing is
    computed for padding in any case.
    """
    batches: list[list[int]] = []
    num_tokens = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        size = lengths[place] + NUM_BOUNDARIES
        if not batches or num_tokens + size > max_tokens:
            batches.append([])
            num_tokens = 0
        batches[-1].append(place)
        num_tokens += size
    return batches
