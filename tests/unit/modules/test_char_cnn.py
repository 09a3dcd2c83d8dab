"""The character CNN, compared with the reference convolution in values and gradients."""

from collections.abc import Sequence
from typing import Optional

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import PADDING_ID, encode_words
from allennlp_elmo_plus.kernels.char_conv.reference import conv_max_pool as reference_convolution
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN

FILTERS = [[1, 3], [2, 4], [3, 5], [7, 6]]
WORDS = "a an the then stone stones stony throwing rethrowing <S> </S> unprecedentedness".split()


def make_cnn(
    filters: Sequence[Sequence[int]] = FILTERS,
    activation: str = "tanh",
    max_characters: int = 50,
    embedding_dim: int = 4,
) -> CharacterCNN:
    generator = torch.Generator().manual_seed(3)
    cnn = CharacterCNN(embedding_dim, filters, activation, max_characters).double()
    with torch.no_grad():
        for parameter in cnn.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return cnn


def encode(words: Sequence[str], max_characters: int = 50) -> Tensor:
    return torch.from_numpy(encode_words(words, max_characters))


def lengths_of(characters: Tensor) -> list[int]:
    return [
        max((column + 1 for column, id in enumerate(row) if id != PADDING_ID), default=0) for row in characters.tolist()
    ]


def by_length(characters: Tensor) -> Tensor:
    return characters[torch.tensor(np.argsort(lengths_of(characters), kind="stable"))]


def buckets_of(characters: Tensor, ends: Sequence[int], spare: int) -> list[tuple[int, int]]:
    lengths = lengths_of(characters)
    return [(end, min(characters.shape[1], lengths[end - 1] + spare)) for end in ends]


def reference(cnn: CharacterCNN, characters: Tensor) -> Tensor:
    maxima = reference_convolution(characters, cnn.embedding, list(cnn.weights), list(cnn.biases))
    return torch.tanh(maxima) if cnn.activation == "tanh" else torch.relu(maxima)


def gradients(cnn: CharacterCNN, output: Tensor) -> list[Tensor]:
    # Every word and filter has another weight, so that a permutation changes the gradients.
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(4), dtype=output.dtype)
    return list(torch.autograd.grad((output * weight).sum(), list(cnn.parameters())))


def assert_same(cnn: CharacterCNN, output: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(cnn, output), gradients(cnn, expected), rtol=0, atol=1e-12)


words = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(words, st.sampled_from([3, 12, 30, 50]), st.sampled_from(["relu", "tanh"]), st.randoms(use_true_random=False))
def test_values_and_gradients_are_those_of_the_reference(
    texts: list[str], max_characters: int, activation: str, random
) -> None:  # type: ignore[no-untyped-def]
    widths = random.sample(range(1, min(max_characters, 9) + 1), k=min(3, max_characters))
    cnn = make_cnn([[width, 3] for width in widths], activation, max_characters)
    characters = encode(texts, max_characters)
    assert_same(cnn, cnn(characters), reference(cnn, characters))


@settings(max_examples=25, deadline=None)
@given(words, st.sampled_from([12, 30, 50]), st.integers(0, 3), st.data())
def test_buckets_change_nothing(texts: list[str], max_characters: int, spare: int, data: st.DataObject) -> None:
    cnn = make_cnn(max_characters=max_characters)
    characters = by_length(encode(texts, max_characters))
    inner = data.draw(st.sets(st.integers(1, len(texts)), max_size=3))
    buckets = buckets_of(characters, sorted(inner | {len(texts)}), spare)
    assert_same(cnn, cnn(characters, buckets), reference(cnn, characters))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([3, 7, 10]))
def test_padding_ids_may_be_anywhere_in_a_word(seed: int, num_words: int, max_characters: int) -> None:
    ids = np.random.default_rng(seed).choice([1, 2, PADDING_ID], size=(num_words, max_characters))
    cnn = make_cnn([[2, 3], [3, 2]], max_characters=max_characters)
    characters = torch.from_numpy(ids)
    assert_same(cnn, cnn(characters), reference(cnn, characters))


def test_a_word_of_the_maximum_length_has_no_position_in_the_padding() -> None:
    cnn = make_cnn([[1, 2], [5, 4]], "relu", max_characters=6)
    with torch.no_grad():
        cnn.embedding[PADDING_ID - 1] = 100.0
        cnn.weights[1].abs_()
    characters = encode(["abcd", "abcdefgh", "abc"], 6)
    assert lengths_of(characters) == [6, 6, 5]
    assert_same(cnn, cnn(characters), reference(cnn, characters))


def test_filters_too_wide_for_one_integer_key_per_n_gram_are_computed() -> None:
    cnn = make_cnn([[70, 3], [1, 2]], max_characters=80)
    characters = encode(WORDS + [word[::-1] for word in WORDS], 80)
    assert_same(cnn, cnn(characters), reference(cnn, characters))


def test_computing_distinct_words_once_gives_the_results_of_every_token() -> None:
    cnn = make_cnn()
    inverse = torch.randint(len(WORDS), (60,), generator=torch.Generator().manual_seed(1))
    characters = encode(WORDS)
    assert_same(cnn, cnn(characters)[inverse], reference(cnn, characters[inverse]))


def test_the_order_of_the_words_does_not_matter() -> None:
    cnn = make_cnn()
    order = torch.randperm(len(WORDS), generator=torch.Generator().manual_seed(1))
    assert torch.equal(cnn(encode(WORDS))[order], cnn(encode(WORDS)[order]))


def test_a_maximum_at_several_positions_has_the_gradient_of_one() -> None:
    cnn = make_cnn([[1, 2]], "relu")
    with torch.no_grad():
        cnn.embedding.fill_(1.0)
        cnn.weights[0].fill_(1.0)
    characters = encode(["aaaa"])
    grad_embedding = torch.autograd.grad(cnn(characters).sum(), cnn.embedding)[0]
    assert torch.equal(grad_embedding, torch.autograd.grad(reference(cnn, characters).sum(), cnn.embedding)[0])
    assert grad_embedding.sum() == 2 * 4


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradients_are_those_of_finite_differences(activation: str) -> None:
    cnn = make_cnn([[1, 2], [3, 3]], activation, max_characters=6, embedding_dim=2)
    characters = encode(["a", "bc", "abcd"], 6)
    rows = torch.unique(characters.long()) - 1

    def forward(embedded: Tensor, *others: Tensor) -> Tensor:
        embedding = cnn.embedding.detach().index_put((rows,), embedded)
        names = [name for name, _ in cnn.named_parameters()]
        return torch.func.functional_call(cnn, dict(zip(names, (embedding, *others), strict=True)), (characters,))

    embedding, *others = cnn.parameters()
    assert torch.autograd.gradcheck(forward, (embedding.detach()[rows].requires_grad_(), *others))


@pytest.mark.parametrize("backward_inside", [False, True])
def test_autocast_does_not_change_the_float32_results(backward_inside: bool) -> None:
    cnn = make_cnn().float()
    characters = encode(WORDS)
    expected = cnn(characters)
    expected_gradients = gradients(cnn, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = cnn(characters)
        gradients_inside = gradients(cnn, output) if backward_inside else None
    assert torch.equal(output, expected)
    for gradient, expected_gradient in zip(gradients_inside or gradients(cnn, output), expected_gradients, strict=True):
        assert torch.equal(gradient, expected_gradient)


def test_the_result_is_the_same_without_gradients() -> None:
    cnn = make_cnn()
    expected = cnn(encode(WORDS))
    with torch.no_grad():
        assert torch.equal(cnn(encode(WORDS)), expected)
    cnn.requires_grad_(False)
    output = cnn(encode(WORDS))
    assert torch.equal(output, expected) and not output.requires_grad


def test_only_the_argmax_is_saved_for_the_backward_pass() -> None:
    cnn = make_cnn([[3, 64], [7, 64]])
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        cnn(encode(WORDS))
    parameters = {parameter.data_ptr() for parameter in cnn.parameters()}
    floats = [tensor for tensor in saved if tensor.is_floating_point() and tensor.data_ptr() not in parameters]
    # The only saved floats are the outputs, for the activation.
    assert [tuple(tensor.shape) for tensor in floats] == [(len(WORDS), 128)]


def test_gradients_are_reproducible() -> None:
    cnn = make_cnn().float()
    characters = encode(WORDS * 20)
    first, second = gradients(cnn, cnn(characters)), gradients(cnn, cnn(characters))
    assert all(map(torch.equal, first, second))


def test_second_derivatives_are_refused_by_the_fast_form_and_computed_by_the_reference() -> None:
    cnn = make_cnn()
    characters = encode(WORDS)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        (gradient,) = torch.autograd.grad(cnn(characters).pow(2).sum(), cnn.embedding, create_graph=True)
        gradient.sum().backward()
    (gradient,) = torch.autograd.grad(reference(cnn, characters).pow(2).sum(), cnn.embedding, create_graph=True)
    gradient.sum().backward()
    assert cnn.embedding.grad is not None


def test_a_batch_of_no_words_has_an_empty_result() -> None:
    assert make_cnn()(encode(["a"])[:0]).shape == (0, 18)


def test_weights_have_these_names_and_shapes_and_start_at_zero() -> None:
    cnn = CharacterCNN(4, [[1, 3], [2, 5]], "relu")
    assert {name: tuple(weight.shape) for name, weight in cnn.named_parameters()} == {
        "embedding": (261, 4),
        "weights.0": (3, 4, 1),
        "weights.1": (5, 4, 2),
        "biases.0": (3,),
        "biases.1": (5,),
    }
    assert cnn.num_filters == 8
    assert all(not weight.any() for weight in cnn.parameters())


@pytest.mark.parametrize(
    "characters, buckets, message",
    [
        (torch.ones(2, 12), None, r"`characters` must have shape \(U, 50\), by the biLM's .*, got \(2, 12\)"),
        (torch.zeros(2, 50, dtype=torch.long), None, "`characters` must be from 1 to 261, got 0"),
        (torch.full((2, 50), 262), None, "`characters` must be from 1 to 261, got 262"),
        (torch.ones(2, 50), [(1, 20)], "`buckets` must end at row 2, the number of words, got 1"),
        (torch.ones(2, 50), [(1, 20), (2, 19)], r"`buckets` must rise, .* got \[\(1, 20\), \(2, 19\)\]"),
        (torch.ones(2, 50), [(2, 51)], r"`buckets` must rise, lengths from 0 to 50, got \[\(2, 51\)\]"),
    ],
)
def test_characters_and_buckets_out_of_range_are_refused(
    characters: Tensor, buckets: Optional[list[tuple[int, int]]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_cnn()(characters, buckets)
