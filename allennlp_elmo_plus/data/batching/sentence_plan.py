"""Assign the sentences of an epoch to batches of whole sentences of similar length, and read the batches as windows.

This is the other way to read a text beside lanes (`lane_plan.py`, `lane_reader.py`): no sentence is cut, no sentence continues where
another one ended, and each starts from a zero state. A sentence of n words has n + 1 positions here too.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from allennlp_elmo_plus.data.batching.epoch_order import EpochOrder, Purpose
from allennlp_elmo_plus.data.batching.window import Segments, Streams, Window, gather_rows
from allennlp_elmo_plus.errors import check_at_least


class SentencePlan(EpochOrder):
    """The batches of one epoch: each sentence is in exactly one.

    The sentences of a block are sorted by length and cut into batches. A batch has at most `batch_tokens` positions, padding included
    (rows times steps of the longest sentence); a longer sentence is a batch by itself. Every sentence of a batch is at least half as
    long as the longest, so less than half of a batch is padding in any text. With `shuffle` three things differ from epoch to epoch: the
    order of the blocks, the order of the batches in a block, and which sentences of equal length share a batch. The number of batches
    does not.

    Args:
        sentence_offsets, shuffle, seed, epoch: As for `EpochOrder`.
        batch_tokens: At least 1.
    """

    def __init__(self, sentence_offsets: np.ndarray, batch_tokens: int, shuffle: bool, seed: int, epoch: int) -> None:
        check_at_least(1, batch_tokens=batch_tokens)
        super().__init__(sentence_offsets, shuffle, seed, epoch, Purpose.SENTENCE_PLAN_BLOCKS)
        self.batch_tokens = batch_tokens
        num_batches = [
            len(self._batch_starts(-np.sort(-self.num_positions_of(self._sentences_in(block)))))
            for block in self.blocks.tolist()
        ]
        self._first_batches = np.append(0, np.cumsum(num_batches))

    @property
    def num_windows(self) -> int:
        """Return the number of batches of the epoch."""
        return int(self._first_batches[-1])

    def batches(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yield the sentences of each batch from batch `start` on, the longest first: their numbers in the text, int64."""
        block_index = int(np.searchsorted(self._first_batches, start, side="right")) - 1
        num_skipped = start - int(self._first_batches[block_index])
        for block in self.blocks[block_index:].tolist():
            yield from self._batches_in(block)[num_skipped:]
            num_skipped = 0

    def _batches_in(self, block: int) -> list[np.ndarray]:
        sentences = self._sentences_in(block)
        if self._shuffle:
            self._generator(Purpose.SENTENCE_PLAN_SENTENCES, block).shuffle(sentences)
        sentences = sentences[np.argsort(-self.num_positions_of(sentences), kind="stable")]
        batches = np.split(sentences, self._batch_starts(self.num_positions_of(sentences))[1:])
        if self._shuffle:
            order = self._generator(Purpose.SENTENCE_PLAN_BATCHES, block).permutation(len(batches))
            batches = [batches[index] for index in order]
        return batches

    def _batch_starts(self, num_positions: np.ndarray) -> list[int]:
        """Return the index of the first sentence of each batch, for sentences of `num_positions`, the longest first."""
        starts, start, rising = [], 0, -num_positions
        while start < len(num_positions):
            starts.append(start)
            longest = int(num_positions[start])
            half = (longest + 1) // 2
            first_below_half = int(np.searchsorted(rising, -half, side="right"))
            start = min(start + max(1, self.batch_tokens // longest), first_below_half)
        return starts

    def _sentences_in(self, block: int) -> np.ndarray:
        return np.arange(self.block_bounds[block], self.block_bounds[block + 1])


class SentenceReader:
    """Iterates over the windows of an epoch. A window is a batch of `plan`; its rows are whole sentences, which carry no state.

    Process `rank` of `num_processes` reads the batches `rank`, `rank` + `num_processes` and so on. Where the last step has fewer
    batches than processes, the other processes get an empty window: one row of length 0.

    Args:
        tokens: (num_tokens,) the type ids of the corpus.
        start: The number of the first window of this process, at least 0.
    """

    def __init__(
        self, tokens: np.ndarray, plan: SentencePlan, start: int = 0, rank: int = 0, num_processes: int = 1
    ) -> None:
        check_at_least(0, start=start)
        self._tokens = tokens
        self._plan = plan
        self._start = start
        self._rank, self._num_processes = rank, num_processes

    def __iter__(self) -> Iterator[Window]:
        first_batch = self._start * self._num_processes
        num_in_last_step = self._plan.num_windows % self._num_processes
        num_in_full_steps = self._plan.num_windows - num_in_last_step
        batches = enumerate(self._plan.batches(first_batch), first_batch)
        for number, sentences in islice(batches, self._rank, None, self._num_processes):
            loss_weight = None if number < num_in_full_steps else self._num_processes / num_in_last_step
            yield self._window(number, sentences, loss_weight)
        if first_batch < self._plan.num_windows and 0 < num_in_last_step <= self._rank:
            empty = Streams(*[np.zeros((1, 1), dtype=np.int64)] * 4)
            length = np.zeros(1, dtype=np.int64)
            yield Window(num_in_full_steps + self._rank, *empty, length, carries_state=False, loss_weight=0.0)

    def _window(self, number: int, sentences: np.ndarray, loss_weight: float | None) -> Window:
        lengths = self._plan.num_positions_of(sentences)
        segments = Segments(self._plan.sentence_offsets[sentences], lengths - 1, np.zeros_like(lengths), lengths)
        streams = gather_rows(self._tokens, segments, lengths, int(lengths[0]))
        return Window(number, *streams, lengths, carries_state=False, loss_weight=loss_weight)
