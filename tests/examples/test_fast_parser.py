"""The faster modules of AllenNLP's parser compute what AllenNLP's and PyTorch's compute, in double precision."""

from copy import deepcopy

import pytest
import torch
from allennlp.modules.augmented_lstm import AugmentedLstm
from allennlp.modules.seq2seq_encoders import PytorchSeq2SeqWrapper
from allennlp.modules.stacked_bidirectional_lstm import StackedBidirectionalLstm

from examples.low_resource.fast_parser import FastBilinear, FastHighwayLstm, speed_up


def results(module, *inputs):
    """Return the output of `module`, and the gradients of a sum of its squares for the inputs and the parameters."""
    torch.manual_seed(2)
    inputs = [value.clone().requires_grad_() if value.is_floating_point() else value for value in inputs]
    output = module(*inputs)
    (output * torch.linspace(0.5, 2, output.numel(), dtype=output.dtype).view_as(output)).square().sum().backward()
    return [
        output,
        *(value.grad for value in inputs if value.requires_grad),
        *(value.grad for value in module.parameters()),
    ]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("is_training", [True, False])
def test_a_highway_lstm_is_allennlps(dropout, is_training):
    torch.manual_seed(1)
    lstm = StackedBidirectionalLstm(5, 4, 3, recurrent_dropout_probability=dropout, layer_dropout_probability=0.2)
    theirs = PytorchSeq2SeqWrapper(lstm.double()).train(is_training)
    ours = deepcopy(theirs)
    speed_up(ours)
    assert sum(type(module) is FastHighwayLstm for module in ours.modules()) == 6
    inputs = torch.randn(4, 7, 5, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor([[3], [7], [1], [4]])
    torch.testing.assert_close(results(ours, inputs, mask), results(theirs, inputs, mask))


def test_only_highway_lstms_are_replaced():
    model = torch.nn.ModuleList([AugmentedLstm(2, 2, use_highway=False), AugmentedLstm(2, 2)])
    speed_up(model)
    assert [type(module) for module in model] == [AugmentedLstm, FastHighwayLstm]


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_a_bilinear_module_is_pytorchs(shape):
    torch.manual_seed(1)
    theirs = torch.nn.Bilinear(5, 6, 7).double()
    ours = deepcopy(theirs)
    speed_up(ours)
    assert type(ours) is FastBilinear
    left, right = (torch.randn(*shape, size, dtype=torch.float64) for size in (5, 6))
    torch.testing.assert_close(results(ours, left, right), results(theirs, left, right))
