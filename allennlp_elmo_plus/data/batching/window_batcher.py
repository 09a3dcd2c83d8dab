"""Make a batch of the language model from a window of type ids."""

import numpy as np
import torch

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch, length_buckets
from allennlp_elmo_plus.data.batching.epoch_order import Purpose, random_generator
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.window import Window
from allennlp_elmo_plus.data.corpus.encoded_corpus import BOS_TYPE, EncodedCorpus
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample


class WindowBatcher:
    """Makes batches from the windows of `corpus`.

    The negatives of a window follow from its number, `seed`, `epoch` and `negatives_stream` alone.

    Args:
        vocabulary_ids: (num_types,) int64, the vocabulary id of each type, counted from 0.
        sampler: Draws the negatives; None for no negatives.
        negatives_stream: At least 0. Processes with different numbers get different negatives.
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
        # Only the entries of the types in the current window are valid.
        self._row_of_type = np.empty(corpus.num_types, dtype=np.int64)

    def __call__(self, window: Window) -> LanguageModelBatch:
        """Return the batch of `window`. Two threads must not call this at the same time."""
        num_steps = window.forward_inputs.shape[1]
        inputs = np.stack([window.forward_inputs, window.backward_inputs])
        targets = self._vocabulary_ids[np.stack([window.forward_targets, window.backward_targets])]
        # Most windows are full, and need no mask.
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
        # Element t is the number of rows of at least t positions.
        rows_by_length = np.bincount(window.lengths, minlength=num_steps + 1)[::-1].cumsum()[::-1]
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
            batch_sizes=[int(size) for size in rows_by_length[1:] if size],
            carries_state=window.carries_state,
            forward_negatives=forward_negatives,
            backward_negatives=backward_negatives,
            loss_weight=window.loss_weight,
        )

    def _distinct_types(self, types: np.ndarray) -> np.ndarray:
        """Return the distinct `types`, sorted by the length of their words: (U,), U at least 1."""
        # A window of some lanes can be empty. With one word, no later stage needs a special case for an empty table.
        types = types.ravel() if types.size else np.array([BOS_TYPE])
        # Each type keeps the position that is written last, so one occurrence of each is found without sorting.
        positions = np.arange(len(types))
        self._row_of_type[types] = positions
        distinct = types[self._row_of_type[types] == positions]
        return distinct[np.argsort(self._lengths[distinct], kind="stable")]

    def _negatives(self, window: int, direction: int) -> NegativeSample | None:
        if self._sampler is None:
            return None
        # Stream 0 is that of a single process, whose seed has no number for the stream.
        stream = [self._negatives_stream] if self._negatives_stream else []
        return self._sampler.sample(
            random_generator(self._seed, Purpose.NEGATIVES, self._epoch, window, direction, *stream)
        )
