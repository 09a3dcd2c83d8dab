"""The random numbers of an epoch, and the order in which an epoch reads the blocks of a corpus."""

from enum import IntEnum

import numpy as np

from allennlp_elmo_plus.errors import check_at_least

# Sentences are shuffled within blocks of neighbours, and the blocks among each other, so no order of all sentences is in memory.
BLOCK_SENTENCES = 16384


class Purpose(IntEnum):
    """What a generator draws: negatives, or the order of blocks, of sentences in a block, or of batches in a block.

    The number is a part of the seed. A changed number would change the batches of a resumed training.
    """

    LANE_PLAN_BLOCKS = 0
    NEGATIVES = 1
    LANE_PLAN_SENTENCES = 2
    SENTENCE_PLAN_BLOCKS = 3
    SENTENCE_PLAN_SENTENCES = 4
    SENTENCE_PLAN_BATCHES = 5


def random_generator(seed: int, purpose: Purpose, epoch: int, *details: int) -> np.random.Generator:
    """Return a generator whose numbers follow from the arguments alone."""
    return np.random.default_rng([seed, int(purpose), epoch, *details])


class EpochOrder:
    """The blocks of neighbouring sentences of a corpus, in the order in which one epoch reads the blocks.

    Args:
        sentence_offsets: (num_sentences + 1,) int64, the index of the first word of each sentence, and the number of words.
        shuffle: Whether the order follows from `seed` and `epoch`; otherwise the order is that of the text in each epoch.
        seed: At least 0.
        epoch: At least 0.
        purpose: The purpose of the generator that orders the blocks.

    Attributes:
        block_bounds: (num_blocks + 1,) int64, the first sentence of each block, and the number of sentences.
        blocks: (num_blocks,) int64, the block that is read at each index.
    """

    def __init__(self, sentence_offsets: np.ndarray, shuffle: bool, seed: int, epoch: int, purpose: Purpose) -> None:
        check_at_least(0, seed=seed, epoch=epoch)
        self.sentence_offsets = sentence_offsets
        self._shuffle, self._seed, self._epoch = shuffle, seed, epoch
        num_sentences = len(sentence_offsets) - 1
        self.block_bounds = np.append(np.arange(0, num_sentences, BLOCK_SENTENCES), num_sentences)
        self.blocks = np.arange(len(self.block_bounds) - 1)
        if shuffle:
            self.blocks = self._generator(purpose).permutation(len(self.blocks))

    def num_positions_of(self, sentences: np.ndarray) -> np.ndarray:
        """Return the positions of each of `sentences`, its words and one more: the same shape, int64."""
        return self.sentence_offsets[sentences + 1] - self.sentence_offsets[sentences] + 1

    def _generator(self, purpose: Purpose, *details: int) -> np.random.Generator:
        return random_generator(self._seed, purpose, self._epoch, *details)
