"""Whole sentences in batches of about one length: which sentences make which batch of an epoch, and the windows they are.

The other way to read a text beside lanes (`data/batching/lane_plan.py`, `data/batching/lane_reader.py`): no sentence is cut,
none goes on where another
ended, and each starts from a state of zeros. A sentence of n words is n + 1 positions, as there.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from allennlp_elmo_plus.data.batching.lane_plan import BLOCK_SENTENCES
from allennlp_elmo_plus.data.batching.lane_reader import Segments, Window, gather_tokens

# The second word of a generator's seed says what it is for; `data/batching/lane_plan.py` and `data/batching/window_batcher.py`
# have 0 to 2.
_ORDER_OF_BLOCKS = 3
_ORDER_IN_BLOCK = 4
_ORDER_OF_BATCHES = 5


class SentencePlan:
    """The batches of `epoch`: each sentence is in exactly one.

    Sentences are taken in blocks of neighbours (BLOCK_SENTENCES), sorted by length within the block, and cut into batches of at
    most `batch_tokens` positions, padding included (rows times steps of the longest), and of sentences at least half as long as
    the longest, so that less than half of a batch is padding whatever the text is like. A sentence of more positions than that
    is a batch of its own. With `shuffle` the blocks come in another order each epoch, and so do the batches in a block and
    sentences of one length among the batches. How many batches there are does not depend on that.

    `sentence_offsets` (num_sentences + 1,) int64: where each sentence starts among the words of the corpus.
    `num_windows`: batches of the epoch.

    Raises `ValueError` when `batch_tokens` is below 1, or `seed` or `epoch` below 0.
    """

    def __init__(self, sentence_offsets: np.ndarray, batch_tokens: int, shuffle: bool, seed: int, epoch: int) -> None:
        for name, value, least in (("batch_tokens", batch_tokens, 1), ("seed", seed, 0), ("epoch", epoch, 0)):
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}")
        self.sentence_offsets = sentence_offsets
        self.batch_tokens = batch_tokens
        self._shuffle, self._seed, self._epoch = shuffle, seed, epoch
        num_sentences = len(sentence_offsets) - 1
        self._block_bounds = np.append(np.arange(0, num_sentences, BLOCK_SENTENCES), num_sentences)
        self._blocks = np.arange(len(self._block_bounds) - 1)
        if shuffle:
            self._blocks = self._generator(_ORDER_OF_BLOCKS).permutation(len(self._blocks))
        sizes = [
            len(self._cuts(-np.sort(-self._num_positions(self._sentences_in(block)))))
            for block in self._blocks.tolist()
        ]
        self._first_batches = np.append(0, np.cumsum(sizes))

    @property
    def num_windows(self) -> int:
        return int(self._first_batches[-1])

    def batches(self, start: int = 0) -> Iterator[np.ndarray]:
        """The sentences of each batch from batch `start` on, longest first: their places in the text, int64."""
        block_index = int(np.searchsorted(self._first_batches, start, side="right")) - 1
        skipped = start - int(self._first_batches[block_index])
        for block in self._blocks[block_index:]:
            yield from self._batches_in(int(block))[skipped:]
            skipped = 0

    def _batches_in(self, block: int) -> list[np.ndarray]:
        sentences = self._sentences_in(block)
        if self._shuffle:
            self._generator(_ORDER_IN_BLOCK, block).shuffle(sentences)
        sentences = sentences[np.argsort(-self._num_positions(sentences), kind="stable")]
        batches = np.split(sentences, self._cuts(self._num_positions(sentences))[1:])
        if self._shuffle:
            order = self._generator(_ORDER_OF_BATCHES, block).permutation(len(batches))
            batches = [batches[index] for index in order]
        return batches

    def _cuts(self, positions: np.ndarray) -> list[int]:
        """Where each batch begins among sentences of `positions`, falling."""
        cuts, start, rising = [], 0, -positions
        while start < len(positions):
            cuts.append(start)
            longest = int(positions[start])
            long_enough = int(np.searchsorted(rising, -((longest + 1) // 2), side="right"))
            start = min(start + max(1, self.batch_tokens // longest), long_enough)
        return cuts

    def _sentences_in(self, block: int) -> np.ndarray:
        return np.arange(self._block_bounds[block], self._block_bounds[block + 1])

    def _num_positions(self, sentences: np.ndarray) -> np.ndarray:
        return self.sentence_offsets[sentences + 1] - self.sentence_offsets[sentences] + 1

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, purpose[0], self._epoch, *purpose[1:]])


class SentenceReader:
    """The windows of an epoch, one a batch of `plan`, from window `start` on. Rows are whole sentences, which carry no state.

    Process `rank` of `num_processes` has every `num_processes`-th batch from batch `rank` on. Where batches do not go round, the
    last window of those without one is empty: a row of length 0.

    `tokens` (num_words,) holds the type ids of the corpus. Raises `ValueError` when `start` is below 0.
    """

    def __init__(
        self, tokens: np.ndarray, plan: SentencePlan, start: int = 0, rank: int = 0, num_processes: int = 1
    ) -> None:
        if start < 0:
            raise ValueError(f"`start` must be at least 0, got {start}")
        self._tokens = tokens
        self._plan = plan
        self._start = start
        self._rank, self._num_processes = rank, num_processes

    def __iter__(self) -> Iterator[Window]:
        first = self._start * self._num_processes
        # Batches of the last step, where they are fewer than processes, and the number of the first of them.
        remaining = self._plan.num_windows % self._num_processes
        last_step = self._plan.num_windows - remaining
        batches = enumerate(self._plan.batches(first), first)
        for number, sentences in islice(batches, self._rank, None, self._num_processes):
            loss_weight = None if number < last_step else self._num_processes / remaining
            yield self._window(number, sentences)._replace(loss_weight=loss_weight)
        if first < self._plan.num_windows and 0 < remaining <= self._rank:
            nothing, length = np.zeros((1, 1), dtype=np.int64), np.zeros(1, dtype=np.int64)
            number = last_step + self._rank
            yield Window(number, nothing, nothing, nothing, nothing, length, carries_state=False, loss_weight=0.0)

    def _window(self, number: int, sentences: np.ndarray) -> Window:
        offsets = self._plan.sentence_offsets[sentences]
        lengths = self._plan.sentence_offsets[sentences + 1] - offsets + 1
        is_real = np.arange(lengths[0]) < lengths[:, None]
        streams = gather_tokens(self._tokens, Segments(offsets, lengths - 1, np.zeros_like(lengths), lengths))
        padded = [np.zeros(is_real.shape, dtype=np.int64) for _ in streams]
        for rows, stream in zip(padded, streams, strict=True):
            rows[is_real] = stream
        forward_inputs, forward_targets, backward_inputs, backward_targets = padded
        return Window(
            number, forward_inputs, forward_targets, backward_inputs, backward_targets, lengths, carries_state=False
        )
