"""Each backend of the convolution over characters against the definition in float64."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from allennlp_elmo_plus.data.text.characters import PADDING_ID
from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.char_conv import _max_over_positions, reference
from allennlp_elmo_plus.kernels.char_conv import conv_max_pool as op
from allennlp_elmo_plus.kernels.char_conv._ngrams import unique_ngrams
from tests.unit.modules.test_char_cnn import encode

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.fixture(params=["numba", "numba after a library's product", "torch", "torch on an accelerator", "reference"])
def each_backend(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[str]:
    if request.param == "numba after a library's product":
        monkeypatch.setitem(backend.TABLE, "conv_max_pool.gemm", {})
    if request.param == "torch on an accelerator":
        monkeypatch.setattr(_max_over_positions, "_by_position", _max_over_positions._all_at_once)
    with backend.force(request.param.split()[0]):
        yield request.param
    assert not caplog.records, "another backend computed"


def words_of(num_words: int, generator: torch.Generator) -> Tensor:
    """Return characters (U, 20) of words of 1 to 12 letters."""
    letters = torch.randint(0, 26, (num_words, 12), generator=generator).tolist()
    words = ["".join(chr(97 + letter) for letter in word[: 1 + number % 12]) for number, word in enumerate(letters)]
    return encode(words, 20)


def weights_of(filters: list[list[int]], generator: torch.Generator) -> list[Tensor]:
    """Return embedding, filters and biases in float64."""
    shapes = [
        (PADDING_ID, 5),
        *((number, 5, width) for width, number in filters),
        *((number,) for _, number in filters),
    ]
    return [0.5 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def with_gradients(function: Any, characters: Tensor, weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    weights = [weight.to(dtype).requires_grad_() for weight in weights]
    num_widths = len(weights) // 2
    maxima = function(characters, weights[0], weights[1 : 1 + num_widths], weights[1 + num_widths :])
    upstream = torch.randn(maxima.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    return [maxima.detach(), *torch.autograd.grad((maxima * upstream).sum(), weights)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("filters", [[[1, 3], [2, 40]], [[1, 32], [3, 64]], [[2, 70], [5, 130], [1, 1]]])
@pytest.mark.parametrize("num_words", [3, 160])
def test_values_and_gradients_follow_the_reference(
    each_backend: str, dtype: torch.dtype, filters: list[list[int]], num_words: int
) -> None:
    """N-grams in one block and in several, filters in one block and in several, panels filled and not."""
    generator = torch.Generator().manual_seed(3)
    characters, weights = words_of(num_words, generator), weights_of(filters, generator)
    expected = with_gradients(reference.conv_max_pool, characters, weights, torch.float64)
    actual = with_gradients(op.conv_max_pool, characters, weights, dtype)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == dtype
        tolerance = TOLERANCE[dtype]
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance * max(1, theirs.abs().max()))
    num_widths, narrow = len(filters), [weight.to(dtype) for weight in weights]
    without = op.conv_max_pool(characters, narrow[0], narrow[1 : 1 + num_widths], narrow[1 + num_widths :])
    assert torch.equal(without, actual[0])


def test_a_response_that_is_not_a_number_is_the_maximum(each_backend: str) -> None:
    embedding = torch.ones(PADDING_ID, 1)
    embedding[ord("x")] = float("nan")
    maxima = op.conv_max_pool(encode(["ax", "xa", "aa"], 10), embedding, [torch.ones(16, 1, 1)], [torch.zeros(16)])
    assert maxima[:2].isnan().all() and not maxima[2].isnan().any()


@pytest.mark.parametrize("word, first, second", [("cabac", "a", "b"), ("cbabc", "b", "a")])
def test_the_first_of_equal_maxima_has_the_gradient(each_backend: str, word: str, first: str, second: str) -> None:
    """The response to "ab" is that to "ba", 3, and those to the other pairs are smaller."""
    embedding = torch.zeros(PADDING_ID, 1)
    embedding[ord("a")] = embedding[ord("b")] = 1
    embedding.requires_grad_()
    maxima = op.conv_max_pool(encode([word], 10), embedding, [torch.tensor([[[2.0, 1.0]]])], [torch.zeros(1)])
    assert maxima.item() == 3
    (grad,) = torch.autograd.grad(maxima.sum(), embedding)
    assert (grad[ord(first)].item(), grad[ord(second)].item()) == (2, 1)


@pytest.mark.parametrize("width", [1, 3, 7, 8])
@given(texts=st.lists(st.text(alphabet="ab", max_size=9), min_size=1, max_size=6))
def test_each_position_has_its_n_gram_and_no_n_gram_occurs_twice(width: int, texts: list[str]) -> None:
    characters = encode(texts, 10)
    ngrams, index = unique_ngrams(characters, width, 8, PADDING_ID)
    assert len(set(map(tuple, ngrams.tolist()))) == len(ngrams) == index.max() + 1
    padded = torch.nn.functional.pad(characters.long(), (0, 8), value=PADDING_ID)
    for position in range(8):
        assert torch.equal(ngrams[index[position]], padded[:, position : position + width])


@pytest.mark.parametrize("bound, num_groups", [(1.3, 2), (1.2, 1)])
def test_widths_in_parallel_threads_follow_the_reference(
    monkeypatch: pytest.MonkeyPatch, bound: float, num_groups: int
) -> None:
    """The filters of width 7 are 1.24 times the mean work of two threads."""
    generator = torch.Generator().manual_seed(3)
    filters = [[1, 3], [2, 4], [3, 5], [7, 6]]
    characters, weights = words_of(40, generator), weights_of(filters, generator)
    expected = with_gradients(reference.conv_max_pool, characters, weights, torch.float64)
    monkeypatch.setattr(op, "MAX_IMBALANCE", bound)
    torch.set_num_threads(2)
    try:
        groups = op._group_by_thread(weights[1 : 1 + len(filters)], characters.device)
        actual = with_gradients(op.conv_max_pool, characters, weights, torch.float64)
    finally:
        torch.set_num_threads(1)
    assert len(groups) == num_groups
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


class _Launches(TorchDispatchMode):
    """Counts the operations on tensors, views aside."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("max_length", [5, 40])
def test_launches_on_an_accelerator_do_not_grow_with_the_length_of_words(
    monkeypatch: pytest.MonkeyPatch, max_length: int
) -> None:
    monkeypatch.setattr(_max_over_positions, "_by_position", _max_over_positions._all_at_once)
    generator = torch.Generator().manual_seed(3)
    weights = [weight.requires_grad_() for weight in weights_of([[1, 3], [2, 4], [3, 5]], generator)]
    characters = encode(["a" * length for length in range(1, max_length)], 50)
    with backend.force("torch"), _Launches() as launches:
        op.conv_max_pool(characters, weights[0], weights[1:4], weights[4:], [(max_length - 1, max_length + 1)])
    assert launches.count < 70
