"""The softmax in weights.hdf5, a group that only this package reads."""

import logging

import h5py
import numpy as np
import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import (
    has_softmax,
    read_parameters,
    write_weights,
)
from allennlp_elmo_plus.modules.build import build_encoder, build_language_model
from tests.helpers.small_encoders import edit, options_of, random_encoder, read_weights
from tests.helpers.small_models import VOCABULARY, small_model, small_options
from tests.unit.formats.hdf5_changes import replace

WORDS = {"char_cnn": None, "n_tokens_vocab": len(VOCABULARY)}
SHARED = {**WORDS, "share_embedding_softmax": True}


def trained(**overrides):
    model = small_model(**overrides)
    with torch.no_grad():
        model.softmax.bias.normal_()
    return model, small_options(**overrides)


@pytest.mark.parametrize("overrides", [{}, WORDS, SHARED], ids=["characters", "words", "shared"])
def test_a_model_with_its_softmax_is_read_as_it_was_written(tmp_path, overrides):
    model, options = trained(**overrides)
    path = tmp_path / "weights.hdf5"
    write_weights(path, model, options)
    other = build_language_model(options, len(VOCABULARY))
    read_weights(path, other, options, len(VOCABULARY))
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value.float()), name
    parameters = read_parameters(path, options, len(VOCABULARY))
    expected = dict(model.named_parameters())
    assert parameters.keys() == expected.keys()
    assert all(torch.equal(parameters[name], expected[name].float()) for name in expected)


def test_the_softmax_has_bilm_tfs_names_and_orientation(tmp_path):
    model, options = trained()
    write_weights(tmp_path / "weights.hdf5", model, options)
    with h5py.File(tmp_path / "weights.hdf5") as file:
        assert set(file["softmax"]) == {"W", "b"}
        np.testing.assert_array_equal(file["softmax/W"], model.softmax.weight.detach().float())
        np.testing.assert_array_equal(file["softmax/b"], model.softmax.bias.detach().float())


def test_a_softmax_that_shares_the_word_embedding_is_not_written_twice(tmp_path):
    model, options = trained(**SHARED)
    write_weights(tmp_path / "weights.hdf5", model, options)
    with h5py.File(tmp_path / "weights.hdf5") as file:
        assert set(file["softmax"]) == {"b"} and "embedding" in file


def test_an_encoder_is_read_from_a_file_with_a_softmax_without_a_warning(tmp_path, caplog):
    model, options = trained()
    write_weights(tmp_path / "weights.hdf5", model, options)
    encoder = build_encoder(options)
    with caplog.at_level(logging.WARNING):
        read_weights(tmp_path / "weights.hdf5", encoder, options)
    assert caplog.text == ""
    assert torch.equal(encoder.bilm.forward_layers[1].kernel, model.bilm.forward_layers[1].kernel.float())


def test_a_file_without_a_softmax_is_refused_for_a_language_model(tmp_path):
    options = options_of("usual")
    path = tmp_path / "weights.hdf5"
    write_weights(path, random_encoder(options), options)
    assert not has_softmax(path)
    assert not any(name.startswith("softmax") for name in read_parameters(path, options, 12))
    with pytest.raises(InputError, match=r"`softmax.weight` must have shape \(12, 5\) by the options, got None"):
        read_weights(path, build_language_model(options, 12), options, 12)


def test_a_softmax_of_another_size_is_refused_and_a_link_is_not_a_softmax(tmp_path):
    model, options = trained()
    path = tmp_path / "weights.hdf5"
    write_weights(path, model, options)
    assert has_softmax(path)
    with pytest.raises(
        InputError, match=r"dataset `softmax/W` must have shape \(13, 5\) by the options, got \(12, 5\)"
    ):
        read_parameters(path, options, 13)
    edit(path, replace("softmax", h5py.ExternalLink("/etc/other.hdf5", "/softmax")))
    assert not has_softmax(path)


def test_the_bytes_of_each_parameter_are_reported_when_they_are_written(tmp_path):
    model, options = trained()
    reports: list[int] = []
    write_weights(tmp_path / "weights.hdf5", model, options, reports.append)
    assert sum(reports) == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert len(reports) == len(list(model.parameters()))
