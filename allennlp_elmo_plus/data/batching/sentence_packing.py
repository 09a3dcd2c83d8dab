"""Conversion between padded rows and packed rows, and the positions of sentences with `<S>` and `</S>` in both."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def pack(values: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """Return the real positions of `values` (B, T), time-major, (N,): at step t those of the first `batch_sizes[t]` rows."""
    steps = values.t()
    if sum(batch_sizes) == values.numel():
        return steps.reshape(-1)
    return torch.cat([values.new_empty(0), *(step[:rows] for step, rows in zip(steps, batch_sizes))])


def unpack(packed: Tensor, mask: Tensor) -> Tensor:
    """Return `packed` (N,) at its positions in `mask` (B, T), 0 elsewhere: the inverse of `pack`."""
    return packed.new_zeros(mask.t().shape).masked_scatter(mask.t(), packed).t()


class SentenceLayout(NamedTuple):
    """The positions of the words of B sentences, each with `<S>` before and `</S>` after it: N is M words + 2 B.

    Packed order is time-major, the longest sentence first, as `torch.nn.utils.rnn.PackedSequence` has it.
    """

    num_steps: int  # T of the padded sentences, without `<S>` and `</S>`
    num_sentences: int  # B
    order: Tensor  # (B,) the sentences, longest first
    batch_sizes: list[int]  # sentences that run at each step
    word_positions: Tensor  # (M,) positions of the words in the padded sentences (B * T)
    word_of_row: Tensor  # (N,) the word of each packed row; M means `<S>`, M + 1 `</S>`
    reversal: Tensor  # (N,) the packed row at the mirrored position of the same sentence; its own inverse
    row_of_word: Tensor  # (M,) the packed row of each word
    row_positions: Tensor  # (N,) positions of the packed rows in the padded sentences with boundaries (B * (T + 2))

    @classmethod
    def of_lengths(cls, lengths: Sequence[int], num_steps: int, device: torch.device) -> "SentenceLayout":
        """Return the layout of sentences of `lengths` words at the start of rows of `num_steps`, with indices on `device`."""
        words = np.asarray(lengths, dtype=np.int64)
        num_words = int(words.sum())
        order = np.argsort(-words, kind="stable")
        sorted_lengths = words[order] + 2
        longest = int(sorted_lengths[0]) if len(words) else 0
        steps_of_row = np.arange(longest)
        batch_sizes = (sorted_lengths[None, :] > steps_of_row[:, None]).sum(axis=1)
        starts = np.cumsum(batch_sizes) - batch_sizes
        step = np.repeat(steps_of_row, batch_sizes)
        rank = np.arange(len(step)) - starts[step]
        sentence = order[rank]
        mirrored = sorted_lengths[rank] - 1 - step
        first_words = np.cumsum(words) - words
        word_of_row = np.where(
            step == 0, num_words, np.where(mirrored == 0, num_words + 1, first_words[sentence] + step - 1)
        )
        owner = np.repeat(np.arange(len(words)), words)
        word_positions = owner * num_steps + np.arange(num_words) - first_words[owner]

        def on_device(indices: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(indices, dtype=np.int64)).to(device)

        return cls(
            num_steps=num_steps,
            num_sentences=len(words),
            order=on_device(order),
            batch_sizes=batch_sizes.tolist(),
            word_positions=on_device(word_positions),
            word_of_row=on_device(word_of_row),
            row_of_word=on_device(np.argsort(word_of_row, kind="stable")[:num_words]),
            reversal=on_device(starts[mirrored] + rank),
            row_positions=on_device(sentence * (num_steps + 2) + step),
        )

    def unpack(self, packed: Tensor, keep_boundaries: bool = False) -> Tensor:
        """Return `packed` (N, K) as padded sentences (B, T, K), zeros as padding.

        With `keep_boundaries` they include `<S>` and `</S>`: (B, T + 2, K).
        """
        num_steps, positions = self.num_steps + 2, self.row_positions
        if not keep_boundaries:
            num_steps, positions = self.num_steps, self.word_positions
            packed = packed[self.row_of_word]
        padded = packed.new_zeros(self.num_sentences * num_steps, packed.shape[1])
        return padded.index_copy(0, positions, packed).view(self.num_sentences, num_steps, packed.shape[1])
