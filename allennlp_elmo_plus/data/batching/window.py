"""A window of an epoch as type ids, gathered from the words of a corpus.

A sentence of n words has n + 1 positions, each an input and a target:

    forward   <S> w1 .. wn  ->  w1 .. wn </S>
    backward  </S> wn .. w1 ->  wn .. w1 <S>
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from allennlp_elmo_plus.data.corpus.encoded_corpus import BOS_TYPE, EOS_TYPE


class Streams(NamedTuple):
    """The type ids of some positions, int64, each direction in its own reading order."""

    forward_inputs: np.ndarray
    forward_targets: np.ndarray
    backward_inputs: np.ndarray
    backward_targets: np.ndarray


class Window(NamedTuple):
    """A window of an epoch as type ids (B, T) int64, each direction in its own reading order, 0 after the end of a row.

    Attributes:
        number: The number of the window in the epoch, from 0.
        lengths: (B,) int64, the real positions of each row, falling or equal from row to row.
        carries_state: Whether rows continue those of the window before (lanes); otherwise each row is a sentence.
        loss_weight: The weight of this process's mean loss per target in the mean over all processes. It is this process's share of
            the targets (of the batches, where rows are sentences) times the number of processes, so it is 1 on average. None, in
            every process at once, where all processes have equal shares.
    """

    number: int
    forward_inputs: np.ndarray
    forward_targets: np.ndarray
    backward_inputs: np.ndarray
    backward_targets: np.ndarray
    lengths: np.ndarray
    carries_state: bool = True
    loss_weight: float | None = None


class Segments(NamedTuple):
    """Parts of M sentences, (M,) int64 each."""

    offsets: np.ndarray  # index of the sentence's first word in the corpus
    num_words: np.ndarray  # of the sentence
    first_steps: np.ndarray  # step of the sentence at which the segment starts
    num_steps: np.ndarray  # steps of the segment

    @classmethod
    def concatenate(cls, parts: "Iterable[Segments]") -> "Segments":
        """Return the segments of all `parts`, which may be none, in order."""
        no_segments = cls(*[np.zeros(0, dtype=np.int64)] * 4)
        return cls(*map(np.concatenate, zip(no_segments, *parts, strict=True)))


def gather_rows(tokens: np.ndarray, segments: Segments, lengths: np.ndarray, num_steps: int) -> Streams:
    """Return the rows that `segments` fill in order, (B, num_steps) each, 0 after the end of a row.

    Args:
        tokens: (num_tokens,) the type ids of the corpus.
        segments: The segments of row 0, then those of row 1, and so on.
        lengths: (B,) int64, the positions of each row.
        num_steps: T.
    """
    is_real = np.arange(num_steps) < lengths[:, None]
    padded = Streams(*(np.zeros(is_real.shape, dtype=np.int64) for _ in range(4)))
    for rows, stream in zip(padded, _gather_tokens(tokens, segments), strict=True):
        rows[is_real] = stream
    return padded


def _gather_tokens(tokens: np.ndarray, segments: Segments) -> Streams:
    """Return the type ids of `segments`, concatenated: (N,) each."""
    ends = np.cumsum(segments.num_steps)
    starts = ends - segments.num_steps
    # At step j of a sentence of n words whose first word has index o, the forward direction reads word o + j - 1 and predicts
    # word o + j; the backward direction reads word o + n - j and predicts word o + n - j - 1.
    forward_word = np.repeat(segments.offsets + segments.first_steps - starts, segments.num_steps)
    forward_word += np.arange(len(forward_word))
    backward_word = np.repeat(2 * segments.offsets + segments.num_words, segments.num_steps)
    backward_word -= forward_word

    def words_at(indices: np.ndarray) -> np.ndarray:
        # An index is outside of the corpus only where a sentence boundary is written next.
        return tokens.take(indices, mode="clip")

    streams = Streams(
        words_at(forward_word - 1), words_at(forward_word), words_at(backward_word), words_at(backward_word - 1)
    )
    first_steps = starts[segments.first_steps == 0]
    last_steps = ends[segments.first_steps + segments.num_steps == segments.num_words + 1] - 1
    streams.forward_inputs[first_steps], streams.forward_targets[last_steps] = BOS_TYPE, EOS_TYPE
    streams.backward_inputs[first_steps], streams.backward_targets[last_steps] = EOS_TYPE, BOS_TYPE
    return streams
