"""The leak check passes an honest biLM and catches each known way of cheating."""

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
def test_no_recurrence_has_any(recurrence: str, bidirectional: bool) -> None:
    model = small_model(lstm=RECURRENCES[recurrence], bidirectional=bidirectional)
    assert find_leaks(model) == []


@pytest.mark.parametrize("overrides", [{}, {"bidirectional": False}, {"dropout": 0.5}])
def test_an_honest_model_has_none(overrides: dict) -> None:
    model = small_model(**overrides)
    encoder = model.token_encoder
    assert find_leaks(model) == []
    assert model.token_encoder is encoder and model.training and all(p.grad is None for p in model.parameters())


class Summed(LanguageModel):
    """Adds the directions' outputs: each then holds the very word the other has just read."""

    def forward(self, batch, state=None) -> TopLayer:  # type: ignore[override]
        top = super().forward(batch, state)
        return TopLayer(top.forward + top.backward, top.backward, top.state)


class LooksAhead(LanguageModel):
    """Its backward direction reads one word too far, as an off-by-one between inputs and targets would have it."""

    def forward(self, batch, state=None) -> TopLayer:  # type: ignore[override]
        top = super().forward(batch, state)
        return TopLayer(top.forward, top.backward.roll(-2, 0), top.state)


class Bidirectional(nn.Module):
    """torch's own bidirectional recurrence in two layers, whose second layer reads both directions of the first."""

    def __init__(self, size: int, kind: type = nn.LSTM) -> None:
        super().__init__()
        self.recurrence = kind(size, size, num_layers=2, bidirectional=True, batch_first=True).double()

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.recurrence(words)[0]


class Stacked(LanguageModel):
    def forward(self, batch, state=None) -> TopLayer:  # type: ignore[override]
        words = self.token_encoder(batch.characters, batch.buckets)[batch.forward_inputs]
        forward, backward = self.mixed(words).chunk(2, dim=-1)
        return TopLayer(
            forward.transpose(0, 1).flatten(0, 1),
            backward.flip(1).transpose(0, 1).flatten(0, 1),
            self.bilm.zero_state(2),
        )


def cheat(kind: type, **overrides: Any) -> LanguageModel:
    honest = small_model(**overrides)
    model = kind(honest.token_encoder, honest.bilm, honest.softmax)
    if kind is Stacked:
        model.mixed = Bidirectional(honest.bilm.output_size)
    return model


@pytest.mark.parametrize(
    "kind, directions", [(Summed, {"forward"}), (LooksAhead, {"backward"}), (Stacked, {"forward", "backward"})]
)
def test_cheats_are_caught(kind: type, directions: set) -> None:
    assert {leak.direction for leak in find_leaks(cheat(kind))} == directions


@pytest.mark.parametrize("kind, directions", [(Summed, {"forward"}), (LooksAhead, {"backward"})])
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_cheats_are_caught_whatever_the_recurrence(recurrence: str, kind: type, directions: set) -> None:
    assert {leak.direction for leak in find_leaks(cheat(kind, lstm=RECURRENCES[recurrence]))} == directions


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN])
def test_other_recurrences_of_torchs_own_are_caught_too(kind: type) -> None:
    model = cheat(Stacked)
    model.mixed = Bidirectional(model.bilm.output_size, kind)
    assert {leak.direction for leak in find_leaks(model)} == {"forward", "backward"}


class NormalisedOverTime(LayerNormLstmLayer):
    """Takes the mean and the variance of its inputs over all steps of a window, those to come among them."""

    def forward(self, inputs, batch_sizes, hidden, cell) -> RecurrentOutput:  # type: ignore[override]
        return super().forward((inputs - inputs.mean(0)) / inputs.std(0), batch_sizes, hidden, cell)


def test_normalisation_over_time_is_caught() -> None:
    honest = small_model(lstm=RECURRENCES["lstm, layer norm, projected"])
    layers = []
    for layer in [*honest.bilm.forward_layers, *honest.bilm.backward_layers]:
        cheating = NormalisedOverTime(5, 9, 5).double()
        cheating.load_state_dict(layer.state_dict())
        layers.append(cheating)
    model = LanguageModel(honest.token_encoder, BiLM(layers[:2], layers[2:]), honest.softmax)
    leaks = find_leaks(model)
    assert {leak.direction for leak in leaks} == {"forward", "backward"} and ("forward", 0, 5) in leaks


def test_the_report_names_the_steps() -> None:
    leaks = find_leaks(cheat(LooksAhead))
    assert (("backward", 0, 1)) in leaks and all(leak.input_step > leak.output_step for leak in leaks)
