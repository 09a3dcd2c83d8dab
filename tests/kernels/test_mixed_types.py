"""Autocast, and models of which a part was converted: near float32, and in float32 the same as ever afterwards."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.lstm import torch_steps
from allennlp_elmo_plus.kernels.lstm.window import Buffers, Clips, LstmTensors, Window, plan_steps
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.training.adagrad import Adagrad
from tests.helpers.small_encoders import BASE
from tests.helpers.small_models import RECURRENCES

SENTENCE = "the mill turns and the river rises".split()
IDS = torch.from_numpy(encode_words(SENTENCE, 50)).long().unsqueeze(0)
HALF_TYPES = [torch.bfloat16, torch.float16]
# Of vectors about 1 long in each place.
NEAR = {torch.bfloat16: 0.02, torch.float16: 0.02, torch.float64: 1e-5}


def small_encoder(recurrence: str = "lstm, projected", trained: bool = False, **options: object) -> BiLMEncoder:
    lstm = {**RECURRENCES[recurrence], "projection_dim": 5, "cell_clip": None, "proj_clip": None}
    encoder = build_encoder(BiLMOptions.from_dict({**BASE, "lstm": lstm, **options}))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return encoder.requires_grad_(trained)


def vectors_of(encoder: BiLMEncoder) -> Tensor:
    return torch.stack([layer.float() for layer in encoder(IDS).layers])


def furthest(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.detach().double() - theirs.detach().double()).abs().max())


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_under_autocast_vectors_are_near_float32_and_exact_again_after_it(
    recurrence: str, trained: bool, dtype: torch.dtype
) -> None:
    expected = vectors_of(small_encoder(recurrence, trained))
    encoder = small_encoder(recurrence, trained)
    with torch.autocast("cpu", dtype):
        under = vectors_of(encoder)
        assert encoder(IDS).state.cell.dtype == encoder(IDS).state.hidden.dtype == torch.float32
    assert furthest(under, expected) < NEAR[dtype]
    assert torch.equal(vectors_of(encoder), expected)


def test_a_state_goes_through_autocast_unrounded() -> None:
    encoder = small_encoder()
    expected = encoder(IDS, encoder(IDS).state).layers
    with torch.autocast("cpu", torch.bfloat16):
        state = encoder(IDS).state
    assert furthest(torch.stack(encoder(IDS, state).layers), torch.stack(expected)) < 0.02


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_elmo_embedder_works_under_autocast_and_is_exact_after_it(dtype: torch.dtype) -> None:
    expected = ElmoEmbedder(small_encoder()).embed_sentence(SENTENCE)
    embedder = ElmoEmbedder(small_encoder())
    with torch.autocast("cpu", dtype):
        under = embedder.embed_sentence(SENTENCE)
    assert under.dtype == np.float32
    np.testing.assert_allclose(under, expected, rtol=0, atol=0.02)
    np.testing.assert_array_equal(embedder.embed_sentence(SENTENCE), expected)


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_gradients_under_autocast_are_near_those_of_float32(dtype: torch.dtype) -> None:
    """As AllenNLP's `use_amp` has it: the forward pass under autocast, the backward pass outside of it."""
    gradients = []
    for enabled in (False, True):
        encoder = small_encoder(trained=True)
        with torch.autocast("cpu", dtype, enabled):
            vectors = vectors_of(encoder)
        vectors.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in encoder.named_parameters()})
    for name, expected in gradients[0].items():
        assert gradients[1][name].dtype == torch.float32
        assert (gradients[1][name] - expected).norm() < 0.05 * expected.norm(), name


PARTS = [
    "",
    "token_encoder",
    "token_encoder.cnn",
    "token_encoder.highway",
    "bilm",
    "bilm.forward_layers",
    "bilm.forward_layers.1",
    "bilm.backward_layers.0",
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_was_converted_computes_right(part: str, trained: bool, dtype: torch.dtype) -> None:
    expected = vectors_of(small_encoder(trained=trained))
    encoder = small_encoder(trained=trained)
    vectors_of(encoder)
    encoder.get_submodule(part).to(dtype)
    found = vectors_of(encoder)
    # Weights rounded to bfloat16, and the vectors of each layer too.
    tolerance = 2 * NEAR[dtype] if dtype == torch.bfloat16 else NEAR[dtype]
    assert furthest(found, expected) < tolerance
    representation = encoder(IDS)
    assert furthest(torch.stack([layer.float() for layer in encoder(IDS, representation.state).layers]), expected) < 1
    if trained:
        found.square().sum().backward()
        assert all(parameter.grad.dtype == parameter.dtype for parameter in encoder.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("part", PARTS)
def test_elmo_embedder_of_a_part_that_was_converted(part: str, dtype: torch.dtype) -> None:
    expected = ElmoEmbedder(small_encoder()).embed_sentence(SENTENCE)
    embedder = ElmoEmbedder(small_encoder())
    embedder.encoder.get_submodule(part).to(dtype)
    vectors = embedder.embed_sentence(SENTENCE)
    assert vectors.dtype == np.float32 or (vectors.dtype == np.float64 and dtype == torch.float64)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=0.04 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize(
    "recurrence, part, owner",
    [
        ("lstm, projected", "token_encoder.cnn.weights", "CharacterCNN"),
        ("lstm, projected", "token_encoder.highway.carry_biases", "Highway"),
        ("lstm, projected", "token_encoder.projection_bias", "CharacterEncoder"),
        ("lstm, projected", "bilm.forward_layers.0.kernel", "LstmLayer"),
        ("lstm, projected", "bilm.backward_layers.1.projection", "LstmLayer"),
        ("lstm, layer norm, projected", "bilm.forward_layers.0.cell_gain", "LayerNormLstmLayer"),
        ("gru, projected", "bilm.forward_layers.1.projection", "GruLayer"),
    ],
)
@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
def test_a_layer_of_which_a_part_was_converted_is_refused_in_one_line(
    recurrence: str, part: str, owner: str, trained: bool
) -> None:
    encoder = small_encoder(recurrence, trained)
    vectors_of(encoder)
    parent, name = encoder.get_submodule(part.rpartition(".")[0]), part.rpartition(".")[2]
    converted = getattr(parent, name)
    if isinstance(converted, nn.Module):
        converted.double()
    else:
        converted.data = converted.data.double()
    with pytest.raises(InputError, match=f"^the weights of {owner} must have one type, got torch.float") as refusal:
        vectors_of(encoder)
    assert "\n" not in str(refusal.value)


WIDE = torch.zeros(4, 4, dtype=torch.float64)
NARROW = torch.zeros(4, 4, dtype=torch.bfloat16)
FLOATS = torch.zeros(4, 4)


def adagrad_with_a_wide_sum() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    optimizer = Adagrad([parameter])
    optimizer.state[parameter]["sum"] = torch.ones(4, dtype=torch.float64)
    parameter.grad = torch.ones(4)
    optimizer.step()


def loop_with_narrow_buffers() -> None:
    from allennlp_elmo_plus.kernels.lstm._numba_loop import forward_loop

    tensors = LstmTensors(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 4), *LstmLayer(1, 4, 1).parameters())
    steps = plan_steps((1,), 1, 1, True, True)
    forward_loop(Window(tensors, Clips(None, None), Buffers(NARROW, NARROW, NARROW), steps, 1), FLOATS)


@pytest.mark.parametrize(
    "call",
    [
        lambda: arrays(FLOATS, WIDE),
        lambda: arrays_to_fill(FLOATS, NARROW),
        lambda: torch_steps._compiled_gates_forward(FLOATS, WIDE, None),
        lambda: torch_steps._compiled_gates_forward(FLOATS, FLOATS, None)(WIDE, WIDE, 0, 0, 0, 0),
        lambda: torch_steps._compiled_gates_backward(FLOATS, FLOATS, NARROW, FLOATS, None),
        lambda: torch_steps._compiled_gates_backward(FLOATS, FLOATS, FLOATS, FLOATS, None)(NARROW, 0, 0, 0),
        loop_with_narrow_buffers,
        adagrad_with_a_wide_sum,
    ],
)
def test_a_compiled_loop_refuses_each_array_of_another_type(call: Callable[[], object]) -> None:
    pytest.importorskip("numba")
    with pytest.raises(InputError, match=r"^a compiled kernel takes tensors of torch\.float32, got one of torch\.\w+"):
        call()


def test_a_loop_refuses_to_fill_what_would_be_a_copy() -> None:
    with pytest.raises(
        ValueError, match=re.escape("a tensor that a kernel fills must be contiguous, got strides (1, 4)")
    ):
        arrays_to_fill(torch.zeros(4, 4).t())
