"""The token encoders: the character encoder compared with AllenNLP's, and the lookup of word vectors."""

import json
from pathlib import Path
from typing import Any, Optional

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN
from allennlp_elmo_plus.modules.highway import Highway
from allennlp_elmo_plus.modules.token_encoder import CharacterEncoder, WordEncoder

FILTERS = [[1, 4], [2, 5], [3, 6], [7, 8]]
NUM_FILTERS = 23
SENTENCES = [
    "the cat sat on the mat near Zürich .".split(),
    "a sesquipedalian , internationalization-loving 고양이 napped again !".split() + ["<S>"],
]


def make_encoder(
    activation: str = "relu", num_highway: int = 2, max_characters: int = 50, projection_dim: Optional[int] = 9
) -> CharacterEncoder:
    cnn = CharacterCNN(3, FILTERS, activation, max_characters)
    highway = Highway(NUM_FILTERS, num_highway) if num_highway else None
    encoder = CharacterEncoder(cnn, highway, projection_dim)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return encoder


def to_bilm_tf(encoder: CharacterEncoder, tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Return `tensors`, one per parameter of the encoder, as datasets of bilm-tf's weights.hdf5."""
    names = {
        "cnn.embedding": "char_embed",
        "projection_weight": "CNN_proj/W_proj",
        "projection_bias": "CNN_proj/b_proj",
    }
    datasets = {}
    for name, tensor in tensors.items():
        array = tensor.detach().numpy()
        stem, _, index = name.rpartition(".")
        if stem == "cnn.weights":
            datasets[f"CNN/W_cnn_{index}"] = array.transpose(2, 1, 0)[None]
        elif stem == "cnn.biases":
            datasets[f"CNN/b_cnn_{index}"] = array
        elif stem.startswith("highway"):
            gate, kind = stem[len("highway.") :].split("_")
            datasets[f"CNN_high_{index}/{'W' if kind == 'weights' else 'b'}_{gate}"] = array
        else:
            datasets[names[name]] = array
    return datasets


def allennlp_gradients(encoder: Any, num_highway: int) -> dict[str, Tensor]:
    """Return the gradients of AllenNLP's encoder with the names and shapes of this package's parameters."""
    gradients = {"cnn.embedding": encoder._char_embedding_weights.grad[1:]}
    for index, convolution in enumerate(encoder._convolutions):
        gradients[f"cnn.weights.{index}"] = convolution.weight.grad
        gradients[f"cnn.biases.{index}"] = convolution.bias.grad
    for index in range(num_highway):
        layer = encoder._highways._layers[index]
        for kind, gradient in (("weights", layer.weight.grad), ("biases", layer.bias.grad)):
            transform, negated_carry = gradient.chunk(2)
            gradients[f"highway.transform_{kind}.{index}"] = transform.t() if kind == "weights" else transform
            gradients[f"highway.carry_{kind}.{index}"] = -(negated_carry.t() if kind == "weights" else negated_carry)
    gradients["projection_weight"] = encoder._projection.weight.grad.t()
    gradients["projection_bias"] = encoder._projection.bias.grad
    return gradients


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("max_characters", [12, 30, 50])
@pytest.mark.parametrize("num_highway", [1, 2])
def test_vectors_and_gradients_are_those_of_allennlp(
    activation: str, max_characters: int, num_highway: int, tmp_path: Path
) -> None:
    modules = pytest.importorskip("allennlp.modules.elmo")
    encoder = make_encoder(activation, num_highway, max_characters)
    options = {
        "char_cnn": {
            "activation": activation,
            "embedding": {"dim": 3},
            "filters": FILTERS,
            "max_characters_per_token": max_characters,
            "n_characters": 262,
            "n_highway": num_highway,
        },
        "lstm": {"projection_dim": 9},
    }
    (tmp_path / "options.json").write_text(json.dumps(options))
    with h5py.File(tmp_path / "weights.hdf5", "w") as file:
        for name, array in to_bilm_tf(encoder, dict(encoder.named_parameters())).items():
            file[name] = array
    theirs = modules._ElmoCharacterEncoder(
        str(tmp_path / "options.json"), str(tmp_path / "weights.hdf5"), requires_grad=True
    ).double()
    # AllenNLP's have 50 characters, whatever `max_characters_per_token` is.
    theirs._beginning_of_sentence_characters = theirs._beginning_of_sentence_characters[:max_characters]
    theirs._end_of_sentence_characters = theirs._end_of_sentence_characters[:max_characters]
    encoder.double()

    characters = torch.from_numpy(np.stack([encode_words(words, max_characters) for words in SENTENCES])).long()
    expected = theirs(characters)["token_embedding"][:, 1:-1]
    distinct, inverse = torch.unique(characters.flatten(0, 1), dim=0, return_inverse=True)
    assert len(distinct) < len(inverse)
    output = encoder(distinct)[inverse].view_as(expected)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)

    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    expected_gradients = allennlp_gradients(theirs, num_highway)
    gradients = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    assert gradients.keys() == expected_gradients.keys()
    torch.testing.assert_close(gradients, expected_gradients, rtol=0, atol=1e-12)


def test_buckets_are_passed_to_the_convolutions() -> None:
    encoder = make_encoder()
    characters = torch.from_numpy(encode_words(["a", "of", "longer"]))
    torch.testing.assert_close(encoder(characters, [(2, 4), (3, 8)]), encoder(characters))
    with pytest.raises(ValueError, match="`buckets` must end at row 3"):
        encoder(characters, [(2, 4)])


def test_without_highway_and_projection_the_vectors_are_those_of_the_cnn() -> None:
    encoder = make_encoder(num_highway=0, projection_dim=None)
    characters = torch.from_numpy(encode_words(["a", "of", "longer"]))
    assert torch.equal(encoder(characters), encoder.cnn(characters))
    assert encoder.output_size == NUM_FILTERS
    assert {name.split(".")[0] for name in encoder.state_dict()} == {"cnn"}


def test_vectors_under_autocast_are_close_and_have_finite_gradients() -> None:
    encoder = make_encoder()
    characters = torch.from_numpy(encode_words(["a", "of", "longer"]))
    expected = encoder(characters)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = encoder(characters)
    torch.testing.assert_close(output.float(), expected, rtol=0.05, atol=0.2)
    output.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("sparse", [False, True])
def test_word_vectors_are_looked_up(sparse: bool) -> None:
    encoder = WordEncoder(5, 2, sparse)
    with torch.no_grad():
        encoder.embedding.copy_(torch.arange(10.0).view(5, 2))
    output = encoder(torch.tensor([3, 0, 3]))
    assert output.tolist() == [[6, 7], [0, 1], [6, 7]]
    output.sum().backward()
    gradient = encoder.embedding.grad
    assert gradient is not None and gradient.is_sparse == sparse
    rows: list[list[float]] = gradient.to_dense().tolist()
    assert rows == [[1, 1], [0, 0], [0, 0], [2, 2], [0, 0]]
    assert encoder.output_size == 2
