"""Read the windows of running text: the next T positions of every lane of an epoch.

A sentence that does not end in a window continues in the same lane of the next window. Only the ends of lanes, in the last windows of
an epoch, are padded. bilm-tf does the same, but shuffles each direction separately (bilm/data.py, `BidirectionalLMDataset`); here both
directions of a lane read the same sentences.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from allennlp_elmo_plus.data.batching.lane_plan import LanePlan, StreamPosition
from allennlp_elmo_plus.data.batching.window import Segments, Streams, Window, gather_rows
from allennlp_elmo_plus.errors import check_at_least

# Positions of all lanes that are gathered at once: enough to spread the cost of a NumPy call, few enough to stay in the cache.
CHUNK_POSITIONS = 1 << 16


class _Cursor:
    """The next position of a lane, and the number of `remaining` positions of the lane."""

    def __init__(self, position: StreamPosition, remaining: int) -> None:
        self.block_index, self.rank, self.step = position
        self.remaining = remaining


class LaneReader:
    """Iterates over the windows of an epoch. The content of a lane does not depend on `start` or on the other `lanes`.

    Args:
        tokens: (num_tokens,) the type ids of the corpus.
        lanes: Numbers of the lanes to read as rows, rising; None for all. The number of windows does not depend on them.
        start: The number of the first window.

    Raises:
        ValueError: `start` is below 0, or `lanes` do not rise.
    """

    def __init__(self, tokens: np.ndarray, plan: LanePlan, lanes: Sequence[int] | None = None, start: int = 0) -> None:
        check_at_least(0, start=start)
        self._tokens = tokens
        self._plan = plan
        self._lanes = np.arange(plan.num_lanes) if lanes is None else np.asarray(lanes)
        if (np.diff(self._lanes) <= 0).any():
            raise ValueError(f"`lanes` must rise, got {self._lanes.tolist()}")
        self._start = start

    def __iter__(self) -> Iterator[Window]:
        num_steps, num_windows = self._plan.num_steps, self._plan.num_windows
        windows_per_chunk = max(1, CHUNK_POSITIONS // (num_steps * len(self._lanes)))
        cursors = [self._cursor(int(lane)) for lane in self._lanes]
        for chunk_start in range(self._start, num_windows, windows_per_chunk):
            chunk_end = min(chunk_start + windows_per_chunk, num_windows)
            remaining = np.array([cursor.remaining for cursor in cursors])
            chunk = self._read_chunk(cursors, (chunk_end - chunk_start) * num_steps)
            for number in range(chunk_start, chunk_end):
                first_step = (number - chunk_start) * num_steps
                lengths = np.clip(remaining - first_step, 0, num_steps)
                streams = Streams(*(stream[:, first_step : first_step + num_steps] for stream in chunk))
                yield Window(number, *streams, lengths, loss_weight=self._loss_weight(number, lengths))

    def _loss_weight(self, number: int, lengths: np.ndarray) -> float | None:
        """Return the `loss_weight` of window `number`, whose rows have `lengths` (B,); other lanes may be longer."""
        num_steps = self._plan.num_steps
        first_step = number * num_steps
        if self._plan.lane_lengths[-1] >= first_step + num_steps:
            return None
        num_targets_of_all = int(np.clip(self._plan.lane_lengths - first_step, 0, num_steps).sum())
        share_of_lanes = len(self._lanes) / self._plan.num_lanes
        return int(lengths.sum()) / num_targets_of_all / share_of_lanes

    def _cursor(self, lane: int) -> _Cursor:
        first_step = self._start * self._plan.num_steps
        remaining = int(self._plan.lane_lengths[lane]) - first_step
        if remaining <= 0:
            return _Cursor(StreamPosition(0, 0, 0), 0)
        return _Cursor(self._plan.find_position(int(self._plan.lane_starts[lane]) + first_step), remaining)

    def _read_chunk(self, cursors: list[_Cursor], num_steps: int) -> Streams:
        """Return the next `num_steps` positions of every row, (B, num_steps)."""
        lengths = np.array([min(num_steps, cursor.remaining) for cursor in cursors])
        segments = Segments.concatenate(part for cursor in cursors for part in self._advance(cursor, num_steps))
        return gather_rows(self._tokens, segments, lengths, num_steps)

    def _advance(self, cursor: _Cursor, num_steps: int) -> Iterator[Segments]:
        """Yield the segments of the next `num_steps` positions, or of those up to the end of the lane, and move `cursor` there."""
        plan = self._plan
        missing = min(num_steps, cursor.remaining)
        cursor.remaining -= missing
        mean_positions = plan.num_positions / (len(plan.sentence_offsets) - 1)
        while missing:
            # Usually enough sentences; where they are short, or the block ends, the loop continues.
            num_sentences = int(missing / mean_positions) + 2
            sentences = plan.sentences(cursor.block_index, slice(cursor.rank, cursor.rank + num_sentences))
            num_positions = plan.num_positions_of(sentences)
            ends = np.cumsum(num_positions) - cursor.step
            num_read = min(int(np.searchsorted(ends, missing)) + 1, len(ends))
            sentences, num_positions = sentences[:num_read], num_positions[:num_read]
            first_steps = np.zeros(num_read, dtype=np.int64)
            first_steps[0] = cursor.step
            end_steps = num_positions.copy()
            # Only the last sentence may continue after these positions.
            num_left = max(0, int(ends[num_read - 1]) - missing)
            end_steps[-1] -= num_left
            missing -= int(ends[num_read - 1]) - num_left
            yield Segments(plan.sentence_offsets[sentences], num_positions - 1, first_steps, end_steps - first_steps)
            if num_left:
                cursor.rank, cursor.step = cursor.rank + num_read - 1, int(end_steps[-1])
            else:
                cursor.rank, cursor.step = cursor.rank + num_read, 0
            if cursor.rank == plan.num_sentences_in(cursor.block_index):
                cursor.block_index, cursor.rank = cursor.block_index + 1, 0
