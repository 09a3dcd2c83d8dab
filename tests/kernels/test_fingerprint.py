"""Fingerprints change with any value of a weight, and with nothing else."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.fingerprint.fingerprint import fingerprint

# Less than a word of 8 bytes, no whole number of words, several blocks of the compiled loop and a rest.
SIZES = [1, 3, 1024, 3 * 8192 + 5]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


@pytest.fixture(params=["numba", "torch"], autouse=True)
def forced_backend(request: pytest.FixtureRequest) -> Iterator[None]:
    with backend.force(request.param):
        yield


def drawn(size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(size)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_each_value_counts_to_its_last_bit(size: int, dtype: torch.dtype) -> None:
    weight = drawn(size, dtype)
    seen = {fingerprint([weight])}
    places = sorted({0, 1, 511, 512, 4095, 4096, 8191, 8192, size // 2, size - 2, size - 1} & set(range(size)))
    for place in places:
        changed = weight.clone()
        changed[place] = torch.nextafter(changed[place], torch.tensor(torch.inf, dtype=dtype))
        seen.add(fingerprint([changed]))
    assert len(seen) == len(places) + 1


CHANGES = {
    "negated": torch.neg,
    "doubled": lambda weight: 2 * weight,
    "transposed": lambda weight: weight.view(64, 64).t().reshape(-1),
    "reversed": lambda weight: weight.flip(0),
    "pages exchanged": lambda weight: weight.view(4, 1024)[[1, 0, 2, 3]].reshape(-1),
    "two values exchanged": lambda weight: torch.cat([weight[1:2], weight[:1], weight[2:]]),
    "signs exchanged": lambda weight: torch.cat([-weight[:2], weight[2:]]),
    "zeroed": torch.zeros_like,
    "shorter": lambda weight: weight[:-1],
    "another shape": lambda weight: weight.view(64, 64),
    "another type": torch.Tensor.double,
    "the same bits in another type": lambda weight: weight.view(torch.int32),
}


def test_a_weight_without_values_has_a_fingerprint() -> None:
    assert fingerprint([torch.zeros(0, 5)]) != fingerprint([torch.zeros(1, 5)])


def test_changes_of_many_values_count() -> None:
    weight = drawn(4096)
    found = {name: fingerprint([change(weight)]) for name, change in CHANGES.items()}
    assert len({fingerprint([weight]), *found.values()}) == len(CHANGES) + 1


def test_equal_values_have_one_fingerprint_wherever_they_are() -> None:
    weight = drawn(1025)
    expected = fingerprint([weight])
    assert fingerprint([weight.clone()]) == expected
    # Not at a multiple of 8 bytes, and not contiguous.
    assert fingerprint([torch.cat([weight[:1], weight])[1:]]) == expected
    assert fingerprint([torch.stack([weight, weight], dim=1)[:, 0]]) == expected
    assert fingerprint([torch.nn.Parameter(weight)]) == expected
    with torch.inference_mode():
        assert fingerprint([weight]) == expected


def test_the_order_of_weights_counts() -> None:
    first, second = drawn(10), drawn(10) + 1
    assert fingerprint([first, second]) != fingerprint([second, first])
