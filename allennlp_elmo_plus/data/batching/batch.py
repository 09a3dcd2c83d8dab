"""A batch of the language model: the tensors that the model reads and predicts.

The words of a batch are spelled once each: the model encodes the U distinct words of both directions, and its inputs are rows of that
table. In a batch of real text about one word in three or four is distinct.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample

_ALIGNMENT = 16  # bytes


class LanguageModelBatch(NamedTuple):
    """B rows of at most T positions, which the model reads in both directions, each direction in its own reading order.

    Attributes:
        characters: (U, C) int16, the distinct words of both directions' inputs by rising length, see `data/text/characters.py`.
        buckets: `[(end row, length), ...]`, both rising: the words from the end row of the bucket before up to `end row` have at most
            `length` characters, and the columns from `length` on hold padding alone.
        word_ids: (U,) int64, the vocabulary ids of the distinct words, that of `<UNK>` for a word without an id.
        forward_inputs: (B, T) int64, rows of `characters`; 0 where padded.
        backward_inputs: As `forward_inputs`.
        forward_targets: (B, T) int64, vocabulary ids counted from 0 as in bilm-tf; 0 where padded.
        backward_targets: As `forward_targets`.
        lengths: (B,) int64, the real positions of each row, falling or equal from row to row.
        batch_sizes: At most T integers, the rows that have a position at each step: `lengths` in another form, never on a device.
        carries_state: Whether rows continue those of the batch before (lanes); otherwise each row is a sentence.
        forward_negatives: The negative samples; the model draws its own where they are None.
        backward_negatives: As `forward_negatives`.
        row_order: (B,) int64, the row of the caller's order that each row holds; None for the caller's own order.
        loss_weight: The weight of this batch's mean loss in the mean over processes, see `data.batching.window.Window`.
    """

    characters: Tensor
    buckets: list[tuple[int, int]]
    word_ids: Tensor
    forward_inputs: Tensor
    backward_inputs: Tensor
    forward_targets: Tensor
    backward_targets: Tensor
    lengths: Tensor
    batch_sizes: list[int]
    carries_state: bool
    forward_negatives: NegativeSample | None = None
    backward_negatives: NegativeSample | None = None
    row_order: Tensor | None = None
    loss_weight: float | None = None

    @property
    def mask(self) -> Tensor:
        """Return a tensor (B, T) of bool, True at real positions."""
        steps = torch.arange(self.forward_inputs.shape[1], device=self.lengths.device)
        return steps < self.lengths[:, None]

    def to(self, device: torch.device) -> "LanguageModelBatch":
        """Return the batch on `device`: itself where it is there, otherwise in one copy, for which the host does not wait."""
        if self.lengths.device == device:
            return self
        copies = iter(copy_together([leaf for leaf in tree_leaves(self) if isinstance(leaf, Tensor)], device))
        return tree_map_only(Tensor, lambda _: next(copies), self)  # type: ignore[no-any-return]


def copy_together(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Return copies of `tensors` on `device`, which is reached once, by way of memory from which CUDA copies on its own."""
    # A tensor may begin where its values are aligned.
    sizes = [-(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT for tensor in tensors]
    buffer = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=device.type == "cuda")

    def parts(buffer: Tensor) -> list[Tensor]:
        return [
            part[: tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            for part, tensor in zip(buffer.split(sizes), tensors, strict=True)
        ]

    for part, tensor in zip(parts(buffer), tensors, strict=True):
        part.copy_(tensor)
    return parts(buffer.to(device, non_blocking=True))


def length_buckets(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Return the `buckets` of words of `lengths` (U,), which must not fall: one bucket for each length."""
    ends = np.append(np.flatnonzero(np.diff(lengths)) + 1, len(lengths))
    return list(zip(ends.tolist(), lengths[ends - 1].tolist(), strict=True))
