"""A fingerprint of weights as one compiled loop, about as fast as the weights can be read from memory."""

import numpy as np

from allennlp_elmo_plus.kernels.jit import jit, jit_inline

U = np.uint64
HALF, LOW, ODD = U(32), U(0xFFFFFFFF), U(0x9E3779B97F4A7C15)

# Rows of a block that are read at the same time. Memory answers one row alone at a fifth of the speed.
ROWS = 8


@jit_inline
def _product(word: U, key: U) -> U:
    # Both halves of the word, each with half of the key added, multiplied: the hash NH (Black et al. 1999, UMAC).
    return ((word + key) & LOW) * (((word >> HALF) + (key >> HALF)) & LOW)


@jit_inline
def _mixed(total: U, block_sum: U) -> U:
    total = (total + block_sum) * ODD
    return total ^ (total >> U(29))


@jit
def fingerprint(words: np.ndarray, keys: np.ndarray) -> U:
    """Return 64 bits that depend on each of `words` (N,) and on its place; keys (ROWS, K). All are uint64."""
    num_columns = keys.shape[1]
    block_size = ROWS * num_columns
    num_blocks = len(words) // block_size
    total = U(len(words))
    for block in range(num_blocks):
        rows = words[block * block_size : (block + 1) * block_size].reshape(ROWS, num_columns)
        block_sum = U(0)
        for column in range(num_columns):
            for row in range(ROWS):
                block_sum += _product(rows[row, column], keys[row, column])
        total = _mixed(total, block_sum)
    block_sum, flat_keys = U(0), keys.reshape(-1)
    for place in range(num_blocks * block_size, len(words)):
        block_sum += _product(words[place], flat_keys[place - num_blocks * block_size])
    return _mixed(total, block_sum)
