"""Order of an epoch: which lane reads which sentences.

An epoch reads every sentence once. Its sentences, shuffled, are one stream, cut into B lanes, the rows of a batch. A
sentence of n words is n + 1 positions: as many targets in each direction.

bilm-tf packs text into rows in the same way, but its rows pull sentences from one iterator as they go, without a seed,
and what does not fill the last window is lost. Here lanes are cut beforehand, so that every position is read and any
window is found by arithmetic.
"""

import math
from functools import lru_cache

import numpy as np

# Sentences are shuffled inside blocks of neighbours, and blocks among each other: an order without a list of them all.
BLOCK_SENTENCES = 16384

# The second word of a generator's seed says what it is for. 1 is for negative samples (`data/batching/window_batcher.py`).
_ORDER_OF_BLOCKS = 0
_ORDER_IN_BLOCK = 2


class EpochPlan:
    """Which sentences each of `num_lanes` lanes reads in `epoch`, and how many windows of `num_steps` positions these are.

    `sentence_offsets` (num_sentences + 1,) int64: where each sentence starts among the words of the corpus.

    A lane starts at the sentence boundary nearest to its even share of the positions, so that lanes differ by about one
    sentence; with fewer sentences than lanes, or one very long sentence, some lanes are empty. The longest lane is lane
    0, the shortest the last: the lanes that still have text are always the first ones. Without `shuffle`, sentences
    keep the order of the text, and every epoch is the same. Memory grows with lanes and blocks, not with sentences.

    `lane_lengths`, `lane_starts` (B,) int64: positions of each lane, falling, and where it starts in the stream.
    `num_windows`: windows of the epoch; only the last ones are ragged.

    Raises `ValueError` when `num_lanes` or `num_steps` is below 1, or `seed` or `epoch` below 0.
    """

    def __init__(
        self, sentence_offsets: np.ndarray, num_lanes: int, num_steps: int, shuffle: bool, seed: int, epoch: int
    ) -> None:
        for name, value, least in (
            ("num_lanes", num_lanes, 1),
            ("num_steps", num_steps, 1),
            ("seed", seed, 0),
            ("epoch", epoch, 0),
        ):
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}")
        self.sentence_offsets = sentence_offsets
        self.num_steps = num_steps
        self._shuffle, self._seed, self._epoch = shuffle, seed, epoch

        num_sentences = len(sentence_offsets) - 1
        self._block_bounds = np.append(np.arange(0, num_sentences, BLOCK_SENTENCES), num_sentences)
        num_blocks = len(self._block_bounds) - 1
        self._blocks = np.arange(num_blocks)
        if shuffle:
            self._blocks = np.random.default_rng([seed, _ORDER_OF_BLOCKS, epoch]).permutation(num_blocks)
        positions_before = sentence_offsets[self._block_bounds] + self._block_bounds
        self._slot_starts = np.append(0, np.cumsum(np.diff(positions_before)[self._blocks]))
        self._order_in_slot = lru_cache(maxsize=num_lanes + 1)(self._draw_order_in_slot)

        shares = [lane * self.num_positions // num_lanes for lane in range(1, num_lanes)]
        bounds = np.array([0, *map(self._nearest_boundary, shares), self.num_positions])
        by_length = np.argsort(-np.diff(bounds), kind="stable")
        self.lane_starts = bounds[:-1][by_length]
        self.lane_lengths = np.diff(bounds)[by_length]
        self.num_windows = math.ceil(int(self.lane_lengths[0]) / num_steps)

    @property
    def num_lanes(self) -> int:
        """B, of the whole epoch."""
        return len(self.lane_starts)

    @property
    def num_positions(self) -> int:
        """Targets of the epoch in each direction."""
        return int(self._slot_starts[-1])

    def sentences(self, block_index: int, ranks: slice = slice(None)) -> np.ndarray:
        """Ids of the sentences, all or those at `ranks`, of the block that is read `block_index`-th, in reading order."""
        return self._block_bounds[self._blocks[block_index]] + self._order_in_slot(block_index)[ranks]

    def num_sentences_in(self, block_index: int) -> int:
        """Sentences of the block that is read `block_index`-th."""
        block = self._blocks[block_index]
        return int(self._block_bounds[block + 1] - self._block_bounds[block])

    def num_positions_of(self, sentences: np.ndarray) -> np.ndarray:
        """Positions of each sentence: its words and one more. *Shape:* as `sentences`, int64."""
        return self.sentence_offsets[sentences + 1] - self.sentence_offsets[sentences] + 1

    def find_position(self, position: int) -> tuple[int, int, int]:
        """The sentence that holds `position` (below `num_positions`) of the stream: the slot, the rank in the slot, and
        the step inside the sentence.
        """
        block_index = int(np.searchsorted(self._slot_starts, position, side="right")) - 1
        ends = self._slot_starts[block_index] + np.cumsum(self.num_positions_of(self.sentences(block_index)))
        rank = int(np.searchsorted(ends, position, side="right"))
        start = ends[rank - 1] if rank else self._slot_starts[block_index]
        return block_index, rank, position - int(start)

    def _nearest_boundary(self, position: int) -> int:
        block_index, rank, step = self.find_position(position)
        remaining = int(self.num_positions_of(self.sentences(block_index)[rank])) - step
        return position - step if step <= remaining else position + remaining

    def _draw_order_in_slot(self, block_index: int) -> np.ndarray:
        # 16 bits are enough inside a block, and every lane keeps one of these.
        order = np.arange(self.num_sentences_in(block_index), dtype=np.uint16)
        if self._shuffle:
            block = int(self._blocks[block_index])
            np.random.default_rng([self._seed, _ORDER_IN_BLOCK, self._epoch, block]).shuffle(order)
        return order
