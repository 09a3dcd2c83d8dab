"""Windows of running text: the next T positions of every lane of an epoch.

A sentence of n words is n + 1 positions, each an input and a target:

    forward   <S> w1 .. wn  ->  w1 .. wn </S>
    backward  </S> wn .. w1 ->  wn .. w1 <S>

A sentence that does not end in a window goes on in the same lane of the next one; nothing is padded but the ends of
lanes, in the last windows of an epoch. bilm-tf does the same, but lets the directions shuffle apart from each other
(bilm/data.py, `BidirectionalLMDataset`); here both directions of a lane read the same sentences.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from allennlp_elmo_plus.data.batching.lane_plan import EpochPlan
from allennlp_elmo_plus.data.corpus.encoded_corpus import BOS_TYPE, EOS_TYPE

# Positions of all lanes laid out at once: enough to spread the cost of a call, few enough to stay in cache.
CHUNK_POSITIONS = 1 << 16


class Window(NamedTuple):
    """Window `number` of an epoch, as type ids (B, T) int64, each direction in its own reading order, 0 past a row's
    end.
    `lengths` (B,) int64: real positions of each row, never rising from row to row.
    `carries_state`: whether rows go on where those of the window before ended.
    `loss_weight`: how much the mean loss over the targets of this process counts in the mean over all processes, 1 on
    average: its share of the targets (sentences: of the batches) times the number of processes. None, in every process
    at once, where all have the same share.
    """

    number: int
    forward_inputs: np.ndarray
    forward_targets: np.ndarray
    backward_inputs: np.ndarray
    backward_targets: np.ndarray
    lengths: np.ndarray
    carries_state: bool = True
    loss_weight: float | None = None


class _Cursor:
    """Where a lane is in the stream: the next sentence, the step in it, and the positions the lane has left."""

    def __init__(self, place: tuple[int, int, int], remaining: int) -> None:
        self.slot, self.rank, self.step = place
        self.remaining = remaining


class Segments(NamedTuple):
    """Parts of sentences, (M,) int64 each: the sentence's first word, its words, the first step and how many."""

    offsets: np.ndarray
    num_words: np.ndarray
    first_steps: np.ndarray
    num_steps: np.ndarray


class LaneReader:
    """The windows of an epoch, from window `start` on: those that a reader from the beginning gives after skipping
    `start`.

    `tokens` (num_words,) holds the type ids of the corpus. `lanes`, rising, names the lanes of `plan` to read as rows
    (all, when None): what they hold does not depend on which others are read, nor does the number of windows.

    Raises `ValueError` when `start` is below 0 or `lanes` does not rise.
    """

    def __init__(self, tokens: np.ndarray, plan: EpochPlan, lanes: Sequence[int] | None = None, start: int = 0) -> None:
        if start < 0:
            raise ValueError(f"`start` must be at least 0, got {start}")
        self._tokens = tokens
        self._plan = plan
        self._lanes = np.arange(plan.num_lanes) if lanes is None else np.asarray(lanes)
        if (np.diff(self._lanes) <= 0).any():
            raise ValueError(f"`lanes` must rise, got {self._lanes.tolist()}")
        self._start = start

    def __iter__(self) -> Iterator[Window]:
        num_steps, num_rows = self._plan.num_steps, len(self._lanes)
        windows_at_once = max(1, CHUNK_POSITIONS // (num_steps * num_rows))
        done = self._start * num_steps
        cursors = [self._cursor(int(lane), done) for lane in self._lanes]
        for first in range(self._start, self._plan.num_windows, windows_at_once):
            num_windows = min(windows_at_once, self._plan.num_windows - first)
            remaining = np.array([cursor.remaining for cursor in cursors])
            chunk = self._read_chunk(cursors, num_windows * num_steps)
            for window in range(num_windows):
                begin = window * num_steps
                columns = slice(begin, begin + num_steps)
                lengths = np.clip(remaining - begin, 0, num_steps)
                forward_inputs, forward_targets, backward_inputs, backward_targets = (
                    stream[:, columns] for stream in chunk
                )
                yield Window(
                    first + window,
                    forward_inputs,
                    forward_targets,
                    backward_inputs,
                    backward_targets,
                    lengths,
                    loss_weight=self._loss_weight(first + window, lengths),
                )

    def _loss_weight(self, number: int, lengths: np.ndarray) -> float | None:
        """Return the `loss_weight` of window `number`, whose rows have `lengths` (B,); other lanes may be longer."""
        begin, num_steps = number * self._plan.num_steps, self._plan.num_steps
        if self._plan.lane_lengths[-1] >= begin + num_steps:
            return None
        num_targets_of_all = int(np.clip(self._plan.lane_lengths - begin, 0, num_steps).sum())
        share_of_lanes = len(self._lanes) / self._plan.num_lanes
        return int(lengths.sum()) / num_targets_of_all / share_of_lanes

    def _cursor(self, lane: int, done: int) -> _Cursor:
        remaining = int(self._plan.lane_lengths[lane]) - done
        if remaining <= 0:
            return _Cursor((0, 0, 0), 0)
        return _Cursor(self._plan.find_position(int(self._plan.lane_starts[lane]) + done), remaining)

    def _read_chunk(self, cursors: list[_Cursor], num_steps: int) -> tuple[np.ndarray, ...]:
        """The next `num_steps` positions of every row: the four streams of a window, (B, num_steps) each."""
        row_lengths = np.array([min(num_steps, cursor.remaining) for cursor in cursors])
        pieces = [piece for cursor in cursors for piece in self._advance(cursor, num_steps)]
        is_real = np.arange(num_steps) < row_lengths[:, None]
        chunk = tuple(np.zeros(is_real.shape, dtype=np.int64) for _ in range(4))
        # No piece at all: the lanes read here have ended before the longest of the plan.
        if pieces:
            streams = gather_tokens(self._tokens, Segments(*map(np.concatenate, zip(*pieces, strict=True))))
            for padded, stream in zip(chunk, streams, strict=True):
                padded[is_real] = stream
        return chunk

    def _advance(self, cursor: _Cursor, num_steps: int) -> Iterator[Segments]:
        """Moves `cursor` on by `num_steps` positions, or to its lane's end, over the pieces of sentences it gives."""
        plan = self._plan
        missing = min(num_steps, cursor.remaining)
        cursor.remaining -= missing
        mean_positions = plan.num_positions / (len(plan.sentence_offsets) - 1)
        while missing:
            likely = int(missing / mean_positions) + 2
            sentences = plan.sentences(cursor.slot, slice(cursor.rank, cursor.rank + likely))
            num_positions = plan.num_positions_of(sentences)
            ends = np.cumsum(num_positions) - cursor.step
            num_pieces = min(int(np.searchsorted(ends, missing)) + 1, len(ends))
            first_steps = np.zeros(num_pieces, dtype=np.int64)
            first_steps[0] = cursor.step
            num_taken = num_positions[:num_pieces] - first_steps
            cut_off = max(0, int(ends[num_pieces - 1]) - missing)
            num_taken[-1] -= cut_off
            missing -= int(num_taken.sum())
            yield Segments(
                plan.sentence_offsets[sentences[:num_pieces]], num_positions[:num_pieces] - 1, first_steps, num_taken
            )
            if cut_off:
                cursor.rank += num_pieces - 1
                cursor.step = int(first_steps[-1] + num_taken[-1])
            else:
                cursor.rank += num_pieces
                cursor.step = 0
            if cursor.rank == plan.num_sentences_in(cursor.slot):
                cursor.slot, cursor.rank = cursor.slot + 1, 0


def gather_tokens(tokens: np.ndarray, pieces: Segments) -> tuple[np.ndarray, ...]:
    """Forward inputs and targets, backward inputs and targets, of `pieces` one after the other: type ids, (N,) each."""
    ends = np.cumsum(pieces.num_steps)
    starts = ends - pieces.num_steps
    # Step j of a sentence of n words at offset o: words o + j - 1 -> o + j, backward o + n - j -> o + n - j - 1.
    step_word = np.repeat(pieces.offsets + pieces.first_steps - starts, pieces.num_steps)
    step_word += np.arange(len(step_word))
    mirrored = np.repeat(2 * pieces.offsets + pieces.num_words, pieces.num_steps)
    mirrored -= step_word
    first_steps = starts[pieces.first_steps == 0]
    last_steps = ends[pieces.first_steps + pieces.num_steps == pieces.num_words + 1] - 1

    def words_at(indices: np.ndarray) -> np.ndarray:
        # Out of range only where a sentence boundary is written over it.
        return tokens.take(indices, mode="clip")

    forward_inputs, forward_targets = words_at(step_word - 1), words_at(step_word)
    backward_inputs, backward_targets = words_at(mirrored), words_at(mirrored - 1)
    forward_inputs[first_steps], forward_targets[last_steps] = BOS_TYPE, EOS_TYPE
    backward_inputs[first_steps], backward_targets[last_steps] = EOS_TYPE, BOS_TYPE
    return forward_inputs, forward_targets, backward_inputs, backward_targets
