"""The inputs of the model "bilm": a batch from any data loader, and its negative samples."""

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import TextFieldTensors

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.sentence_batch import batch_from_sentences
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample


def batch_of_source(source: TextFieldTensors, takes_characters: bool) -> LanguageModelBatch:
    """Return the batch of the padded sentences `source`.

    Raises:
        ConfigurationError: where `source` lacks the tensors of an indexer that the model needs.
    """
    tensors = {name: tensor for indexed in source.values() for name, tensor in indexed.items()}
    indexers = {"tokens": "single_id"}
    if takes_characters:
        indexers["elmo_tokens"] = "bilm_characters"
    for name, indexer in indexers.items():
        if name not in tensors:
            raise ConfigurationError(
                f"the model needs a `{indexer}` token indexer in the reader, got {sorted(tensors)}"
            )
    return batch_from_sentences(tensors.get("elmo_tokens"), tensors["tokens"] - 1, tensors["tokens"] > 0)


def negatives_of_batch(batch: LanguageModelBatch, sampler: LogUniformSampler) -> tuple[NegativeSample, NegativeSample]:
    """Return the negative samples of `batch`, one for each direction; those of `sampler` where the data loader drew none.

    Raises:
        ConfigurationError: where the data loader draws another number of words than `sampler`.
    """
    if batch.forward_negatives is not None and batch.backward_negatives is not None:
        num_drawn = len(batch.forward_negatives.ids)
        if num_drawn != sampler.num_samples:
            raise ConfigurationError(
                "`n_negative_samples_batch` must be the same in the model and the data loader, got "
                f"{sampler.num_samples} and {num_drawn}"
            )
        return batch.forward_negatives, batch.backward_negatives
    rng = np.random.default_rng(torch.randint(2**62, (2,)).tolist())
    device = batch.lengths.device
    forward, backward = (
        sample._replace(ids=sample.ids.to(device), log_expected=sample.log_expected.to(device))
        for sample in (sampler.sample(rng), sampler.sample(rng))
    )
    return forward, backward
