"""A frozen encoder caches vectors of words; when its weights change, it computes the vectors of the new weights."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from tests.helpers.small_encoders import options_of, random_encoder

IDS = torch.from_numpy(encode_words(["the", "mill", "turns"], 50)).long().unsqueeze(0)


def small_encoder() -> BiLMEncoder:
    encoder = random_encoder(options_of("usual")).requires_grad_(False)
    for parameter in encoder.parameters():
        parameter.data.mul_(0.3)
    return encoder


def vectors_of(encoder: BiLMEncoder) -> Tensor:
    return torch.stack(encoder(IDS).layers).detach()


def train(encoder: BiLMEncoder, fused: bool) -> None:
    encoder.requires_grad_(True)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.05, fused=fused)
    for _ in range(2):
        optimizer.zero_grad()
        torch.stack(encoder(IDS).layers).square().sum().backward()
        optimizer.step()
    encoder.requires_grad_(False)


def copy(encoder: BiLMEncoder) -> None:
    for parameter in encoder.parameters():
        parameter.data.copy_(parameter.data * 1.3)


def multiply(encoder: BiLMEncoder) -> None:
    for parameter in encoder.parameters():
        parameter.data.mul_(-1)


def write_one_value_through_numpy(encoder: BiLMEncoder) -> None:
    encoder.token_encoder.projection_bias.numpy()[0] += 0.5


def replace_storage(encoder: BiLMEncoder) -> None:
    bias = encoder.token_encoder.projection_bias
    bias.data = bias.data + 0.5


@pytest.mark.parametrize(
    "change",
    [
        copy,
        multiply,
        write_one_value_through_numpy,
        replace_storage,
        lambda encoder: train(encoder, fused=False),
        lambda encoder: train(encoder, fused=True),
    ],
    ids=["copy_", "mul_", "numpy", "new storage", "AdamW", "fused AdamW"],
)
def test_after_a_change_the_vectors_are_those_of_the_new_weights(change: Callable[[BiLMEncoder], None]) -> None:
    encoder = small_encoder()
    before = vectors_of(encoder)
    change(encoder)
    fresh = small_encoder()
    fresh.load_state_dict(encoder.state_dict())
    after = vectors_of(encoder)
    assert torch.equal(after, vectors_of(fresh))
    assert (after - before).abs().max() > 0.01


def test_when_old_weights_are_restored_their_vectors_are_computed_again() -> None:
    """A moving average replaces the weights before an evaluation and restores them after it."""
    encoder = small_encoder()
    before = vectors_of(encoder)
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    multiply(encoder)
    assert not torch.equal(vectors_of(encoder), before)
    for name, parameter in encoder.named_parameters():
        parameter.data.copy_(weights[name])
    assert torch.equal(vectors_of(encoder), before)


def test_a_word_is_encoded_once_while_the_weights_stay_the_same() -> None:
    encoder = small_encoder()
    counts: list[int] = []
    encoder.token_encoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    for _ in range(2):
        encoder(IDS)
        encoder.load_state_dict(encoder.state_dict())
        with torch.inference_mode():
            encoder(IDS)
    assert counts == [5]
