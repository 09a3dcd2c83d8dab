"""The model in fixtures/, whose files and vectors AllenNLP's code made; see fixtures/README.md."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.formats.pretrained import load_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"


@pytest.fixture(scope="module")
def options():
    return BiLMOptions.from_file(FIXTURES / "options.json")


@pytest.fixture(scope="module")
def encoder(options):
    return load_encoder(options, FIXTURES / "weights.hdf5").eval()


def sentences():
    return [line.split() for line in (FIXTURES / "sentences.txt").read_text("utf-8").splitlines()]


def test_the_layers_are_those_of_allennlps_elmo(encoder):
    expected = np.load(FIXTURES / "layers.npz")
    for number, words in enumerate(sentences()):
        ids = torch.from_numpy(encode_words(words).astype(np.int64)).unsqueeze(0)
        with torch.no_grad():
            result = encoder(ids)
        layers = torch.stack([result.layout.unpack(layer)[0] for layer in result.layers])
        assert layers.shape == (3, len(words), 10)
        np.testing.assert_allclose(layers.numpy(), expected[f"sentence_{number}"], rtol=0, atol=1e-6)


def test_the_clips_are_active(encoder):
    """Otherwise the comparison above would not notice a missing clip."""
    ids = torch.from_numpy(encode_words(sentences()[0]).astype(np.int64)).unsqueeze(0)
    with torch.no_grad():
        state = encoder(ids).state
    assert (state.cell.abs() == 0.2).any() and (state.hidden.abs() == 0.1).any()


def test_an_export_has_the_same_bytes_in_every_dataset(encoder, options, tmp_path):
    files = export_model(encoder, options, read_vocabulary(FIXTURES / "vocab.txt"), tmp_path)
    assert files.vocabulary.read_bytes() == (FIXTURES / "vocab.txt").read_bytes()
    names: list[str] = []
    with h5py.File(FIXTURES / "weights.hdf5") as ours, h5py.File(files.weights) as theirs:
        ours.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            assert ours[name].dtype == theirs[name].dtype
            assert ours[name][()].tobytes() == theirs[name][()].tobytes(), name
    assert len(names) == 1 + 4 + 8 + 2 + 12
