"""The leak check finds nothing in a correct biLM, and finds a leak in models that read the words they predict."""

from typing import Any

import pytest
import torch
from torch import nn

from allennlp_elmo_plus.modules.bilm import BiLM
from allennlp_elmo_plus.modules.language_model import LanguageModel, TopLayer
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentOutput
from allennlp_elmo_plus.modules.recurrent.lstm_layer_norm import LayerNormLstmLayer
from allennlp_elmo_plus.training.leak_check import find_leaks
from tests.helpers.small_models import RECURRENCES, small_model


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_no_recurrence_has_a_leak(recurrence: str, bidirectional: bool) -> None:
    model = small_model(lstm=RECURRENCES[recurrence], bidirectional=bidirectional)
    assert find_leaks(model) == []


@pytest.mark.parametrize("overrides", [{}, {"bidirectional": False}, {"dropout": 0.5}])
def test_a_correct_model_has_no_leak_and_is_not_changed_by_the_check(overrides: dict) -> None:
    model = small_model(**overrides)
    encoder = model.token_encoder
    assert find_leaks(model) == []
    assert model.token_encoder is encoder and model.training and all(p.grad is None for p in model.parameters())


class SumOfDirections(LanguageModel):
    """Adds the outputs of both directions, so that the forward outputs depend on the next word."""

    def forward(self, batch, state=None) -> TopLayer:  # type: ignore[override]
        top = super().forward(batch, state)
        return TopLayer(top.forward + top.backward, top.backward, top.state)


class ShiftedByOne(LanguageModel):
    """Its backward direction reads one word too many, as with an off-by-one error between inputs and targets."""

    def forward(self, batch, state=None) -> TopLayer:  # type: ignore[override]
        top = super().forward(batch, state)
        return TopLayer(top.forward, top.backward.roll(-2, 0), top.state)


class Bidirectional(nn.Module):
    """PyTorch's bidirectional recurrence of two layers, whose second layer reads both directions of the first."""

    def __init__(self, size: int, kind: type = nn.LSTM) -> None:
        super().__init__()
        self.recurrence = kind(size, size, num_layers=2, bidirectional=True, batch_first=True).double()

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.recurrence(words)[0]


class MixedLayers(LanguageModel):
    """Computes its outputs with `mixed`, a Bidirectional."""

    def forward(self, batch, state=None) -> TopLayer:  # type: ignore[override]
        words = self.token_encoder(batch.characters, batch.buckets)[batch.forward_inputs]
        forward, backward = self.mixed(words).chunk(2, dim=-1)
        return TopLayer(
            forward.transpose(0, 1).flatten(0, 1),
            backward.flip(1).transpose(0, 1).flatten(0, 1),
            self.bilm.zero_state(2),
        )


def leaky_model(kind: type[LanguageModel], **overrides: Any) -> LanguageModel:
    """Return a model of the class `kind` with the parts of a correct model."""
    correct = small_model(**overrides)
    return kind(correct.token_encoder, correct.bilm, correct.softmax)


@pytest.mark.parametrize("kind, direction", [(SumOfDirections, "forward"), (ShiftedByOne, "backward")])
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_leaks_are_found_with_every_recurrence(recurrence: str, kind: type[LanguageModel], direction: str) -> None:
    model = leaky_model(kind, lstm=RECURRENCES[recurrence])
    assert {leak.direction for leak in find_leaks(model)} == {direction}


@pytest.mark.parametrize("recurrence", [nn.LSTM, nn.GRU, nn.RNN])
def test_bidirectional_layers_of_pytorch_have_leaks_in_both_directions(recurrence: type[nn.Module]) -> None:
    model = leaky_model(MixedLayers)
    model.mixed = Bidirectional(model.bilm.output_size, recurrence)
    assert {leak.direction for leak in find_leaks(model)} == {"forward", "backward"}


class NormalisedOverTime(LayerNormLstmLayer):
    """Normalises its inputs by the mean and the variance over all steps of a window, including later steps."""

    def forward(self, inputs, batch_sizes, hidden, cell) -> RecurrentOutput:  # type: ignore[override]
        return super().forward((inputs - inputs.mean(0)) / inputs.std(0), batch_sizes, hidden, cell)


def test_normalisation_over_time_is_a_leak() -> None:
    correct = small_model(lstm=RECURRENCES["lstm, layer norm, projected"])
    layers = []
    for layer in [*correct.bilm.forward_layers, *correct.bilm.backward_layers]:
        leaky_layer = NormalisedOverTime(5, 9, 5).double()
        leaky_layer.load_state_dict(layer.state_dict())
        layers.append(leaky_layer)
    model = LanguageModel(correct.token_encoder, BiLM(layers[:2], layers[2:]), correct.softmax)
    leaks = find_leaks(model)
    assert {leak.direction for leak in leaks} == {"forward", "backward"} and ("forward", 0, 5) in leaks


def test_a_leak_names_its_input_step_and_output_step() -> None:
    leaks = find_leaks(leaky_model(ShiftedByOne))
    assert (("backward", 0, 1)) in leaks and all(leak.input_step > leak.output_step for leak in leaks)
