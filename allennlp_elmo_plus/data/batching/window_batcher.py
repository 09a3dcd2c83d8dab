"""A batch of the language model, and how a window of running text becomes one.

Words are spelled once each: what the model encodes are the U distinct words of a batch, in both directions together;
its inputs are rows of that table. About one word in three or four is distinct in a batch of real text.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.lane_reader import Window
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.corpus.encoded_corpus import BOS_TYPE, EncodedCorpus
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample

# The second word of a generator's seed says what it is for. 0 and 2 are for the order of an epoch
# (`data/batching/lane_plan.py`).
_NEGATIVES = 1


class LanguageModelBatch(NamedTuple):
    """What the language model reads and predicts. Both directions are in their own reading order, from the left of a row.

    `characters` (U, C) int16: the distinct words of both directions' inputs, by rising length, see
    `data/text/characters.py`.
    `buckets`: `[(end row, length), ...]`, both rising: the words in the rows up to `end row`, from the bucket before,
    have at most `length` characters; the columns from there on hold padding alone. How much of the padding a filter
    reads depends on its width, which the character CNN knows and a batch does not.
    `word_ids` (U,) int64: vocabulary ids of the distinct words, `<UNK>`'s where they have none.
    `forward_inputs`, `backward_inputs` (B, T) int64: rows of `characters`; 0 where padded.
    `forward_targets`, `backward_targets` (B, T) int64: vocabulary ids, counted as bilm-tf does, from 0; 0 where padded.
    `lengths` (B,) int64: real positions of each row, never rising from row to row.
    `batch_sizes` T or fewer numbers: how many rows run at each step; the same facts as `lengths`, but never on a
    device.
    `carries_state`: whether rows go on where those of the batch before ended (lanes), or are sentences of their own.
    `forward_negatives`, `backward_negatives`: negative samples; without them the model draws its own.
    `loss_weight`: how much this batch's mean loss counts in the mean over processes, see `data.batching.lane_reader.Window`.
    `row_order` (B,) int64: the row in the order the caller gave that each row holds; None when that is this order.
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
        """(B, T) bool, True at real positions."""
        steps = torch.arange(self.forward_inputs.shape[1], device=self.lengths.device)
        return steps < self.lengths[:, None]


def length_buckets(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Return the `buckets` of words of `lengths` (U,), which must rise: one bucket for each length."""
    ends = np.append(np.flatnonzero(np.diff(lengths)) + 1, len(lengths))
    return list(zip(ends.tolist(), lengths[ends - 1].tolist(), strict=True))


class WindowBatcher:
    """Makes batches of the windows of `corpus`.

    `vocabulary_ids` (num_types,) int64: the vocabulary id of each type, counted from 0.
    `sampler` draws the negatives, None for none. Those of a window follow from `seed`, `epoch`, the number of the
    window and `negatives_stream` alone: processes that have different ones draw apart from each other.
    """

    def __init__(
        self,
        corpus: EncodedCorpus,
        vocabulary_ids: np.ndarray,
        sampler: LogUniformSampler | None = None,
        seed: int = 0,
        epoch: int = 0,
        negatives_stream: int = 0,
    ) -> None:
        self._characters = corpus.type_characters
        self._lengths = corpus.type_lengths
        self._vocabulary_ids = vocabulary_ids
        self._sampler = sampler
        self._seed, self._epoch, self._negatives_stream = seed, epoch, negatives_stream
        # Only entries of types in the window at hand mean anything.
        self._row_of_type = np.empty(corpus.num_types, dtype=np.int64)

    def __call__(self, window: Window) -> LanguageModelBatch:
        """The batch of `window`. Not safe to call from two threads at once."""
        num_steps = window.forward_inputs.shape[1]
        inputs = np.stack([window.forward_inputs, window.backward_inputs])
        targets = self._vocabulary_ids[np.stack([window.forward_targets, window.backward_targets])]
        is_ragged = window.lengths[-1] < num_steps
        if is_ragged:
            padding = np.arange(num_steps) >= window.lengths[:, None]
            distinct = self._distinct_types(inputs[:, ~padding])
        else:
            distinct = self._distinct_types(inputs)
        self._row_of_type[distinct] = np.arange(len(distinct))
        rows = self._row_of_type[inputs]
        if is_ragged:
            rows[:, padding] = 0
            targets[:, padding] = 0
        num_steps_run = np.bincount(window.lengths, minlength=num_steps + 1)[::-1].cumsum()[::-1]
        forward_negatives, backward_negatives = self._negatives(window.number, 0), self._negatives(window.number, 1)
        return LanguageModelBatch(
            characters=torch.from_numpy(self._characters[distinct]),
            buckets=length_buckets(self._lengths[distinct]),
            word_ids=torch.from_numpy(self._vocabulary_ids[distinct]),
            forward_inputs=torch.from_numpy(rows[0]),
            backward_inputs=torch.from_numpy(rows[1]),
            forward_targets=torch.from_numpy(targets[0]),
            backward_targets=torch.from_numpy(targets[1]),
            lengths=torch.from_numpy(window.lengths),
            batch_sizes=[int(size) for size in num_steps_run[1:] if size],
            carries_state=window.carries_state,
            forward_negatives=forward_negatives,
            backward_negatives=backward_negatives,
            loss_weight=window.loss_weight,
        )

    def _distinct_types(self, types: np.ndarray) -> np.ndarray:
        """The distinct numbers of `types`, at least one of them, by rising length of their words."""
        # A window can be empty for some of the lanes; a table of no words would burden every later stage.
        types = types.ravel() if types.size else np.array([BOS_TYPE])
        # Of a type's occurrences, the one whose position stays in the table stands for it: they need no sorting.
        positions = np.arange(len(types))
        self._row_of_type[types] = positions
        distinct = types[self._row_of_type[types] == positions]
        return distinct[np.argsort(self._lengths[distinct], kind="stable")]

    def _negatives(self, window: int, direction: int) -> NegativeSample | None:
        if self._sampler is None:
            return None
        seed = [self._seed, _NEGATIVES, self._epoch, window, direction]
        if self._negatives_stream:
            seed.append(self._negatives_stream)
        return self._sampler.sample(np.random.default_rng(seed))
