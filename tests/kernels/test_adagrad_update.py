"""Each backend of Adagrad's update against the definition in float64."""

import math

import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.adagrad import adagrad_update as op
from allennlp_elmo_plus.kernels.adagrad import reference

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}
LR, SCALE = 0.3, 0.7


def gradients(shape: tuple[int, ...], layout: str, dtype: torch.dtype) -> list[Tensor]:
    """Return the gradients of three steps; a sparse one holds four rows, the first none."""
    generator = torch.Generator().manual_seed(1)
    grads = []
    for rows in ([], [0, 3, 17, 39], [3, 5, 6, 7]):
        values = torch.randn(len(rows), *shape[1:], generator=generator, dtype=torch.float64).to(dtype)
        with torch.sparse.check_sparse_tensor_invariants():
            grad = torch.sparse_coo_tensor(torch.tensor([rows], dtype=torch.int64), values, shape).coalesce()
        dense = grad.to_dense()
        if layout == "transposed":
            dense = dense.transpose(0, -1).contiguous().transpose(0, -1)
        grads.append(grad if layout == "sparse" else dense)
    return grads


def updated(start: Tensor, grads: list[Tensor]) -> list[Tensor]:
    param, grad_sum = start.clone(), torch.full_like(start, 0.5)
    for grad in grads:
        op.adagrad_update([param], [grad], [grad_sum], LR, SCALE)
    return [param, grad_sum]


@pytest.mark.parametrize("name", ["numba", "torch", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["dense", "transposed", "sparse"])
@pytest.mark.parametrize("shape", [(40, 3), (40,), (40, 2, 3)])
@pytest.mark.parametrize("block_size", [6, 1 << 17])
def test_each_backend_follows_the_reference(
    monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype, layout: str, shape: tuple[int, ...], block_size: int
) -> None:
    monkeypatch.setattr(op, "CPU_BLOCK_SIZE", block_size)
    start = torch.linspace(-1, 1, math.prod(shape), dtype=dtype).view(shape)
    grads = gradients(shape, layout, dtype)
    with backend.force(name):
        param, grad_sum = updated(start, grads)
    expected_param, expected_sum = start.double().clone(), torch.full_like(start, 0.5, dtype=torch.float64)
    for grad in grads:
        reference.adagrad_update(expected_param, grad.double(), expected_sum, LR, SCALE)
    torch.testing.assert_close(param.double(), expected_param, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    torch.testing.assert_close(grad_sum.double(), expected_sum, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert not torch.equal(param, start)


@pytest.mark.parametrize("name", ["numba", "torch"])
def test_a_parameter_that_is_not_contiguous_is_updated(name: str) -> None:
    start, grads = torch.linspace(-1, 1, 120).view(3, 40).t(), gradients((40, 3), "dense", torch.float32)
    with backend.force(name):
        for ours, theirs in zip(updated(start, grads), updated(start.contiguous(), grads), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_an_update_of_several_parameters_in_few_launches_equals_one_of_each() -> None:
    start = [torch.linspace(-1, 1, 35, dtype=torch.float64).view(7, 5), torch.ones(11, dtype=torch.float64)]
    grads = [torch.full_like(tensor, 0.4) for tensor in start]
    batched, single = ([tensor.clone() for tensor in start] for _ in range(2))
    op._batched_update([(param, grad, torch.ones_like(param)) for param, grad in zip(batched, grads)], LR, SCALE)
    op.adagrad_update(single, grads, [torch.ones_like(param) for param in single], LR, SCALE)
    torch.testing.assert_close(batched, single, rtol=1e-15, atol=1e-15)
    assert not torch.equal(batched[0], start[0])
