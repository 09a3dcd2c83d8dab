"""A window of running text -> a batch of the language model."""

import numpy as np
import torch

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch, length_buckets
from allennlp_elmo_plus.data.batching.lane_reader import Window
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.corpus.encoded_corpus import BOS_TYPE, EncodedCorpus
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample

# The second word of a generator's seed says what it is for. 0 and 2 are for the order of an epoch
# (`data/batching/lane_plan.py`).
_NEGATIVES = 1


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
