"""Assign the sentences of an epoch to lanes.

An epoch reads every sentence once. Its sentences, shuffled, are one stream, which is cut into B lanes, the rows of a batch. A
sentence of n words has n + 1 positions: it gives n + 1 targets in each direction.

bilm-tf fills the rows of a batch in the same way, but its rows take sentences from one iterator as they need them, without a seed, and
the positions that do not fill the last window are lost. Here the lanes are cut in advance. So every position is read, and any window is
found by arithmetic.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from allennlp_elmo_plus.data.batching.epoch_order import EpochOrder, Purpose
from allennlp_elmo_plus.errors import check_at_least


class StreamPosition(NamedTuple):
    """A position in the stream of an epoch."""

    block_index: int  # index of the block in reading order
    rank: int  # index of the sentence in its block in reading order
    step: int  # index of the position in the sentence


class LanePlan(EpochOrder):
    """The lanes of one epoch.

    A lane starts at the sentence boundary nearest to its equal share of the positions, so lanes differ by about one sentence. With
    fewer sentences than lanes, or one very long sentence, some lanes are empty. The lanes are sorted by length, the longest first: those
    that still have text are always the first rows. Memory grows with the number of lanes and blocks, not of sentences.

    Args:
        sentence_offsets, shuffle, seed, epoch: As for `EpochOrder`.
        num_lanes: B, at least 1.
        num_steps: T, the positions of a window, at least 1.

    Attributes:
        lane_lengths: (B,) int64, the positions of each lane, the longest first.
        lane_starts: (B,) int64, the position in the stream at which each lane starts.
        num_windows: The windows of the epoch; only the last ones are not full.
    """

    def __init__(
        self, sentence_offsets: np.ndarray, num_lanes: int, num_steps: int, shuffle: bool, seed: int, epoch: int
    ) -> None:
        check_at_least(1, num_lanes=num_lanes, num_steps=num_steps)
        super().__init__(sentence_offsets, shuffle, seed, epoch, Purpose.LANE_PLAN_BLOCKS)
        self.num_steps = num_steps
        positions_before_block = sentence_offsets[self.block_bounds] + self.block_bounds
        self._block_starts = np.append(0, np.cumsum(np.diff(positions_before_block)[self.blocks]))
        # Each lane reads in one block at a time.
        self._order_in_block = lru_cache(maxsize=num_lanes + 1)(self._draw_order_in_block)

        equal_shares = [lane * self.num_positions // num_lanes for lane in range(1, num_lanes)]
        bounds = np.array([0, *map(self._nearest_boundary, equal_shares), self.num_positions])
        by_length = np.argsort(-np.diff(bounds), kind="stable")
        self.lane_starts = bounds[:-1][by_length]
        self.lane_lengths = np.diff(bounds)[by_length]
        self.num_windows = math.ceil(int(self.lane_lengths[0]) / num_steps)

    @property
    def num_lanes(self) -> int:
        """Return the number of lanes of the epoch, in all processes."""
        return len(self.lane_starts)

    @property
    def num_positions(self) -> int:
        """Return the number of targets of the epoch in each direction."""
        return int(self._block_starts[-1])

    def sentences(self, block_index: int, ranks: slice = slice(None)) -> np.ndarray:
        """Return the sentences at `ranks` of the block that is read at `block_index`, in reading order: their numbers in the text."""
        # NumPy before version 2 keeps 16 bits in a sum with one number.
        return self.block_bounds[self.blocks[block_index]] + self._order_in_block(block_index)[ranks].astype(np.int64)

    def num_sentences_in(self, block_index: int) -> int:
        """Return the number of sentences of the block that is read at `block_index`."""
        block = self.blocks[block_index]
        return int(self.block_bounds[block + 1] - self.block_bounds[block])

    def find_position(self, position: int) -> StreamPosition:
        """Return the sentence, and the step in it, at `position` of the stream, which is below `num_positions`."""
        block_index = int(np.searchsorted(self._block_starts, position, side="right")) - 1
        block_start = self._block_starts[block_index]
        ends = block_start + np.cumsum(self.num_positions_of(self.sentences(block_index)))
        rank = int(np.searchsorted(ends, position, side="right"))
        sentence_start = ends[rank - 1] if rank else block_start
        return StreamPosition(block_index, rank, position - int(sentence_start))

    def _nearest_boundary(self, position: int) -> int:
        block_index, rank, step = self.find_position(position)
        remaining = int(self.num_positions_of(self.sentences(block_index)[rank])) - step
        return position - step if step <= remaining else position + remaining

    def _draw_order_in_block(self, block_index: int) -> np.ndarray:
        # One order per lane is in memory; 16 bits are enough for a rank.
        order = np.arange(self.num_sentences_in(block_index), dtype=np.uint16)
        if self._shuffle:
            self._generator(Purpose.LANE_PLAN_SENTENCES, int(self.blocks[block_index])).shuffle(order)
        return order
