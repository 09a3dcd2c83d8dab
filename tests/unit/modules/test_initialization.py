"""Initial weights have bilm-tf's distributions, and parts are built by the options."""

import math

import pytest
import torch
from torch import nn

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.modules.build import build_encoder, build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.small_models import RECURRENCES, small_options

VOCAB_SIZE = 300


def character_options(activation):
    return BiLMOptions.from_dict(
        {
            "char_cnn": {
                "activation": activation,
                "embedding": {"dim": 16},
                "filters": [[1, 64], [3, 96]],
                "n_highway": 2,
            },
            "lstm": {"dim": 80, "projection_dim": 40, "n_layers": 2},
            "bidirectional": True,
        }
    )


def word_options(shared=False):
    return BiLMOptions.from_dict({"lstm": {"dim": 80, "projection_dim": 40}, "share_embedding_softmax": shared})


def uniform_bound(name, parameter):
    """Return the bound of the uniform distribution that the parameter is drawn from, or None if it is not uniform."""
    if name == "token_encoder.cnn.embedding":
        return 1.0
    if name.endswith(("kernel", ".projection", "token_encoder.embedding")):
        return math.sqrt(6 / sum(parameter.shape))
    return None


def check_uniform(parameter, bound):
    assert parameter.abs().max() <= bound
    assert parameter.abs().max() > 0.97 * bound
    check_moments(parameter, bound / math.sqrt(3), kurtosis=1.8)


def check_normal(parameter, deviation):
    check_moments(parameter, deviation, kurtosis=3.0)


def check_moments(parameter, deviation, kurtosis):
    """Check that mean, variance and fourth moment are each within five standard errors."""
    values = parameter.detach().double().flatten() / deviation
    count = len(values)
    assert abs(values.mean()) < 5 / math.sqrt(count)
    assert abs(values.square().mean() - 1) < 5 * math.sqrt((kurtosis - 1) / count)
    assert abs(values.pow(4).mean() - kurtosis) < 5 * math.sqrt(100 / count)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_every_weight_of_a_character_model_has_bilm_tfs_distribution(activation):
    torch.manual_seed(13)
    model = build_language_model(character_options(activation), VOCAB_SIZE)
    num_checked = 0
    for name, parameter in model.named_parameters():
        bound = uniform_bound(name, parameter)
        if bound is not None:
            check_uniform(parameter, bound)
        elif name.startswith("token_encoder.cnn.weights"):
            _, dim, width = parameter.shape
            if activation == "relu":
                check_uniform(parameter, 0.05)
            else:
                check_normal(parameter, math.sqrt(1 / (width * dim)))
        elif "_weights." in name or name == "token_encoder.projection_weight":
            check_normal(parameter, math.sqrt(1 / 160))
        elif name == "softmax.weight":
            check_normal(parameter, math.sqrt(1 / 40))
        else:
            assert "bias" in name
            assert (parameter == (-2.0 if "carry" in name else 0.0)).all()
        num_checked += 1
    assert num_checked == len(model.state_dict()) == 1 + 2 * 2 + 2 * 4 + 2 + 4 * 3 + 2


@pytest.mark.parametrize("shared", [False, True])
def test_a_word_embedding_has_its_own_distribution_also_if_the_softmax_shares_it(shared):
    torch.manual_seed(13)
    model = build_language_model(word_options(shared), VOCAB_SIZE)
    check_uniform(model.token_encoder.embedding, math.sqrt(6 / (VOCAB_SIZE + 40)))
    assert (model.softmax.weight is model.token_encoder.embedding) is shared
    assert (model.softmax.bias == 0).all()
    if not shared:
        check_normal(model.softmax.weight, math.sqrt(1 / 40))


@pytest.mark.parametrize("cell, gates", [("gru", 3), ("rnn", 1)])
@pytest.mark.parametrize("projected", [True, False])
def test_gru_and_rnn_cells_have_the_distributions_of_the_lstm(cell, gates, projected):
    size, width = 200, 100 if projected else 200
    torch.manual_seed(13)
    parts = build_encoder(
        BiLMOptions.from_dict({"lstm": {"dim": size, "projection_dim": width, "cell": cell}, "n_tokens_vocab": 9})
    )
    (layer,) = parts.bilm.forward_layers
    weights = layer.recurrence
    for weight in (weights.weight_ih_l0, weights.weight_hh_l0):
        check_uniform(weight, math.sqrt(6 / (width + size + gates * size)))
    # The order of the gates in PyTorch is reset, update, new: the reset gate and the update gate start open.
    assert (weights.bias_ih_l0[: (gates - 1) * size] == 1).all() and (
        weights.bias_ih_l0[(gates - 1) * size :] == 0
    ).all()
    assert (weights.bias_hh_l0 == 0).all()
    if projected:
        check_uniform(layer.projection, math.sqrt(6 / (size + width)))


def test_the_gains_of_layer_normalisation_start_at_one():
    parts = build_encoder(
        BiLMOptions.from_dict({"lstm": {"dim": 80, "projection_dim": 40, "layer_norm": True}, "n_tokens_vocab": 9})
    )
    for layer in (*parts.bilm.forward_layers, *parts.bilm.backward_layers):
        check_uniform(layer.kernel, math.sqrt(6 / (80 + 320)))
        check_uniform(layer.projection, math.sqrt(6 / 120))
        assert all((gain == 1).all() for gain in (layer.input_gain, layer.recurrent_gain, layer.cell_gain))
        assert (layer.bias == 0).all() and (layer.cell_bias == 0).all()


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_the_options_count_the_parameters_of_every_recurrence(recurrence):
    options = BiLMOptions.from_dict({"lstm": RECURRENCES[recurrence], "n_tokens_vocab": 9})
    parts = build_encoder(options)
    assert sum(parameter.numel() for parameter in parts.bilm.parameters()) == options.parameter_counts()["`lstm`"]


def test_the_seed_determines_every_weight():
    def build(seed):
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build_language_model(character_options("relu"), VOCAB_SIZE).parameters())

    assert torch.equal(build(1), build(1))
    assert not torch.equal(build(1), build(2))


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("overrides", [{}, {"char_cnn": None}, {"char_cnn": None, "share_embedding_softmax": True}])
def test_every_parameter_gets_an_initial_value(recurrence, overrides):
    model = build_language_model(small_options(lstm=RECURRENCES[recurrence], **overrides), VOCAB_SIZE)
    for parameter in model.parameters():
        parameter.data.fill_(math.nan)
    model.reset_parameters()
    assert [name for name, parameter in model.named_parameters() if parameter.isnan().any()] == []


def word_options_sized():
    return BiLMOptions.from_dict({"lstm": {"dim": 8, "projection_dim": 4}, "n_tokens_vocab": 9})


def test_parts_are_built_by_the_options():
    parts = build_encoder(
        BiLMOptions.from_dict(
            {
                "char_cnn": {"activation": "relu", "embedding": {"dim": 2}, "filters": [[1, 5], [2, 3]]},
                "lstm": {"dim": 8, "projection_dim": 8, "n_layers": 3, "cell_clip": 2.0, "use_skip_connections": True},
                "bidirectional": False,
                "dropout": 0.3,
            }
        )
    )
    assert parts.token_encoder.highway is None
    assert parts.token_encoder.projection_weight is None
    assert len(parts.bilm.forward_layers) == 3 and len(parts.bilm.backward_layers) == 0
    assert parts.bilm.forward_layers[0].projection is None
    assert parts.bilm.forward_layers[0].cell_clip == 2.0
    assert parts.bilm.use_skip_connections is True
    assert parts.bilm.dropout_prob == 0.0


def test_a_vocabulary_of_another_size_than_in_the_options_is_refused():
    options = BiLMOptions.from_dict({"lstm": {"dim": 8, "projection_dim": 4}, "n_tokens_vocab": 9})
    with pytest.raises(InputError, match="`n_tokens_vocab` must be 8, the number of words in the vocabulary, got 9"):
        build_language_model(options, 8)


def test_word_input_needs_the_size_of_its_vocabulary():
    with pytest.raises(InputError, match="`n_tokens_vocab` must be given for word input"):
        build_encoder(word_options())
