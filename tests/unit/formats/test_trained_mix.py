"""The trained layer mix in the archive of a downstream model, which may come from a stranger."""

import io
import json
import math
import os
from pathlib import Path

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.parameters import fill_parameters
from allennlp_elmo_plus.formats.trained_mix import read_trained_mix
from tests.helpers.small_archives import calling, repacked, write_archive
from tests.helpers.small_encoders import options_of, random_encoder

EMBEDDER = "_text_field_embedder.token_embedder_elmo."
MIX = f"{EMBEDDER}_mix"


def state(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Return the state dict of a tagger over a biLM: tensors of several types, the mix and the biLM; `changes` replace or remove."""
    encoder = random_encoder(options_of("usual"))
    tensors = {
        "_tagger.weight": torch.ones(3, 4).t(),
        "_tagger.steps": torch.tensor(3),
        "_tagger.mask": torch.tensor([True, False]),
        f"{MIX}.gamma": torch.tensor([2.0]),
        **{f"{MIX}.scalar_parameters.{number}": torch.tensor([float(number)]) for number in range(3)},
        **{f"{EMBEDDER}_encoder.{name}": value.detach() for name, value in encoder.named_parameters()},
    }
    return {name: value for name, value in {**tensors, **changes}.items() if value is not None}


def archive(path: Path, weights: bytes | dict[str, torch.Tensor], config: bytes = b'{"model": {}}') -> Path:
    if isinstance(weights, dict):
        file = io.BytesIO()
        torch.save(weights, file)
        weights = file.getvalue()
    return write_archive(path / "model.tar.gz", {"config.json": config, "weights.th": weights})


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_trained_mix(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


def test_the_mix_and_the_weights_of_the_bilm_are_read(tmp_path):
    mix, weights = read_trained_mix(archive(tmp_path, state()))
    total = sum(map(math.exp, range(3)))
    assert mix.weights == pytest.approx([2 * math.exp(number) / total for number in range(3)])
    encoder = random_encoder(options_of("usual"), seed=9)
    fill_parameters(encoder, weights, "it")
    for ours, theirs in zip(encoder.parameters(), random_encoder(options_of("usual")).parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_pickle_that_calls_a_function_is_refused(tmp_path):
    assert refusal(archive(tmp_path, calling(bytearray, 10**12))) == (
        "its `weights.th` must hold nothing but tensors of numbers, got the name '__builtin__.bytearray'"
    )
    made = tmp_path / "made"
    assert refusal(archive(tmp_path, calling(os.mkdir, str(made)))).startswith(
        "its `weights.th` must hold nothing but "
    )
    assert not made.exists()


def test_a_tensor_with_fewer_bytes_than_its_shape_needs_is_refused(tmp_path):
    file = io.BytesIO()
    torch.save(state(), file)
    content = repacked(file.getvalue(), {"data/0": b"\0" * 8})
    assert refusal(archive(tmp_path, content)) == (
        "its `weights.th` `_tagger.weight` must have 48 bytes of numbers in the file, got 8"
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({f"{MIX}.gamma": torch.ones(2)}, "the mix's `gamma` must hold one number, got shape (2,)"),
        ({f"{MIX}.gamma": torch.tensor([math.inf])}, "the mix's `gamma` must hold finite numbers of float32, got inf"),
        (
            {f"{MIX}.scalar_parameters.1": torch.tensor([math.nan])},
            "the mix's `scalar_parameters.1` must hold finite numbers of float32, got nan",
        ),
        (
            {
                "a.token_embedder_b._mix.gamma": torch.ones(1),
                "a.token_embedder_b._mix.scalar_parameters.0": torch.ones(1),
            }
            | {"a.token_embedder_b._encoder.x": torch.ones(1)},
            "must hold the mix of one token embedder of type `bilm`, got 2",
        ),
        ({f"{MIX}.gamma": None}, "must hold the mix of one token embedder of type `bilm`, got none"),
    ],
)
def test_a_mix_that_is_missing_ambiguous_or_not_finite_is_refused(tmp_path, changes, message):
    assert refusal(archive(tmp_path, state(**changes))) == message


def test_names_that_do_not_end_in_a_layers_number_are_ignored(tmp_path):
    changes = {f"{MIX}.scalar_parameters.{name}": torch.ones(1) for name in ("x", "²", "01")}
    assert len(read_trained_mix(archive(tmp_path, state(**changes))).mix.weights) == 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_weights_of_the_bilm_that_are_not_finite_are_refused(tmp_path, value):
    name = "bilm.forward_layers.1.bias"
    bias = torch.zeros(40, dtype=torch.float64)
    bias[-1] = value
    weights = read_trained_mix(archive(tmp_path, state(**{f"{EMBEDDER}_encoder.{name}": bias}))).encoder_weights
    encoder = random_encoder(options_of("usual"))
    before = [parameter.clone() for parameter in encoder.parameters()]
    with pytest.raises(
        InputError, match=f"^it: `{name}` must hold finite numbers of float32, got {value}$".replace("+", r"\+")
    ):
        fill_parameters(encoder, weights, "it")
    assert all(torch.equal(ours, old) for ours, old in zip(encoder.parameters(), before, strict=True))


@pytest.mark.parametrize("value", [True, 1])
def test_a_deeply_nested_config_is_searched_to_its_end(tmp_path, value):
    config = {"do_layer_norm": value}
    for _ in range(900):
        config = {"a": config}
    assert "`do_layer_norm` cannot be used" in refusal(archive(tmp_path, state(), json.dumps(config).encode()))
