"""On an accelerator the host launches ahead of the device, until it must wait for a result."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.training.adagrad import Adagrad
from tests.helpers.host_waits import host_waits
from tests.helpers.small_models import batch_of, small_model


@pytest.mark.parametrize("sentences", [[["a", "b"], ["c", "d"]], [["a", "b", "c"], ["b"]]])
def test_a_training_step_waits_for_the_sizes_of_tables_and_for_the_norm_alone(sentences: list[list[str]]) -> None:
    model, batch, rng = small_model(dropout=0.1), batch_of(sentences), np.random.default_rng(0)
    sampler = LogUniformSampler(len(model.softmax.bias), 3)
    negatives, optimizer = (sampler.sample(rng), sampler.sample(rng)), Adagrad(model.parameters(), max_norm=1.0)
    with backend.force("torch"), host_waits() as functions:
        loss = model.sampled_loss(batch, negatives)
        assert loss.backward_nll_sum is not None
        (loss.forward_nll_sum + loss.backward_nll_sum).backward()
        optimizer.step()
    assert functions == [
        "char_cnn.forward",  # the range of the characters
        "_ngrams.unique_ngrams",
        *["sampled_softmax._torch_nll_and_gradients"] * 2,  # the distinct targets that are not sampled
        "adagrad._global_norm",
    ]


@pytest.mark.parametrize(
    "operation",
    [
        lambda values: values.sum().item(),
        lambda values: values.tolist(),
        lambda values: values.unique(),
        lambda values: values[values > 0],
        lambda values: values.nonzero(),
    ],
)
def test_each_kind_of_wait_is_noticed(operation: Callable[[torch.Tensor], object]) -> None:
    with host_waits() as functions:
        operation(torch.tensor([1, 0, 1]))
    assert len(functions) == 1
