"""Compiled kernels whose products are in bfloat16, by the processor's instructions, against the same rounding in float64."""

from collections.abc import Callable
from typing import Any, Optional

import numpy as np
import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.lstm import _numba_loop, direction
from allennlp_elmo_plus.kernels.processor import instruction_sets
from allennlp_elmo_plus.kernels.softmax.sampled_softmax import sampled_softmax_nll
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from tests.helpers.bfloat16 import needs_bfloat16

pytestmark = needs_bfloat16

CELL_CLIP, PROJ_CLIP = 0.5, 0.3


def rounded(tensor: Tensor) -> Tensor:
    return tensor.bfloat16().double()


class RoundedProduct(torch.autograd.Function):
    """The product of factors rounded to bfloat16; its gradients are such products too."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return rounded(left) @ rounded(right)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        left, right = ctx.saved_tensors
        return rounded(grad) @ rounded(right).t(), rounded(left).t() @ rounded(grad)


class Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, limit: Optional[float]) -> Tensor:
        ctx.limit = limit
        ctx.save_for_backward(values)
        return values if limit is None else values.clamp(-limit, limit)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        return grad if ctx.limit is None else grad * (values.abs() < ctx.limit), None


def rounded_lstm(
    layer: LstmLayer, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor
) -> list[Tensor]:
    """Return outputs, hidden and cell of a layer in float64."""
    outputs, first = [], 0
    for rows in batch_sizes:
        left = torch.cat([inputs[first : first + rows], hidden[:rows]], dim=1)
        gates = RoundedProduct.apply(left, layer.kernel) + layer.bias_of_gates()
        i, g, f, o = gates.chunk(4, dim=1)
        new_cell = Clip.apply(f.sigmoid() * cell[:rows] + i.sigmoid() * g.tanh(), layer.cell_clip)
        new_hidden = o.sigmoid() * new_cell.tanh()
        if layer.projection is not None:
            new_hidden = Clip.apply(RoundedProduct.apply(new_hidden, layer.projection), layer.proj_clip)
        hidden, cell = torch.cat([new_hidden, hidden[rows:]]), torch.cat([new_cell, cell[rows:]])
        outputs.append(new_hidden)
        first += rows
    return [torch.cat(outputs), hidden, cell]


def gradients_of(run: Callable[..., Any], layer: LstmLayer, batch_sizes: list[int], num_rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    inputs, hidden, cell = (
        torch.randn(rows, size, generator=generator).mul(scale).to(layer.kernel.dtype).requires_grad_()
        for rows, size, scale in (
            (sum(batch_sizes), layer.input_size, 1.0),
            (num_rows, layer.output_size, 0.2),
            (num_rows, layer.cell_size, 0.3),
        )
    )
    results = list(run(layer, inputs, batch_sizes, hidden, cell))
    leaves = {"inputs": inputs, "hidden": hidden, "cell": cell, **dict(layer.named_parameters())}
    upstream = [torch.randn(result.shape, generator=generator).to(result.dtype) for result in results]
    grads = torch.autograd.grad(results, list(leaves.values()), upstream)
    return {**dict(zip(("outputs", "new hidden", "new cell"), results)), **dict(zip(leaves, grads))}


def in_bfloat16(layer: LstmLayer, *arguments: Any) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return layer(*arguments)


def random_layer(inputs: int, cells: int, projection: Optional[int], clips: bool) -> LstmLayer:
    layer = LstmLayer(inputs, cells, projection, *((CELL_CLIP, PROJ_CLIP) if clips else (None, None)))
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.15, generator=generator)
    return layer


@pytest.mark.parametrize(
    "inputs, cells, projection, clips, batch_sizes, num_rows, max_kernel_in_loop",
    [
        (32, 64, 32, True, [5] * 4, 5, 1 << 22),
        (32, 64, 32, False, [5] * 4, 5, 1 << 22),
        # Rows that end, rows that never run, and a tail of rows that fill no tile.
        (64, 288, 32, True, [20, 17, 9, 1], 21, 1 << 22),
        (64, 288, 32, True, [40, 33], 40, 1 << 22),
        # One product with all inputs: of a large kernel, and where a step has few rows.
        (64, 288, 32, True, [20, 17, 9, 1], 21, 0),
        (32, 96, 64, False, [1] * 6, 1, 1 << 22),
        (64, 64, None, True, [3, 3, 2], 3, 1 << 22),
    ],
)
def test_the_lstm_is_that_of_rounded_factors(
    inputs: int,
    cells: int,
    projection: Optional[int],
    clips: bool,
    batch_sizes: list[int],
    num_rows: int,
    max_kernel_in_loop: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_numba_loop, "MAX_KERNEL_IN_LOOP", max_kernel_in_loop)
    monkeypatch.setattr(direction, "forward_steps", None)
    layer = random_layer(inputs, cells, projection, clips)
    with backend.force("numba"):
        computed = gradients_of(in_bfloat16, layer, batch_sizes, num_rows)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(2)
            given = torch.randn(sum(batch_sizes), inputs, generator=generator)
            state = [torch.randn(num_rows, size, generator=generator) for size in (layer.output_size, cells)]
            unsaved = in_bfloat16(layer, given, batch_sizes, state[0] * 0.2, state[1] * 0.3)
    for name, result in zip(("outputs", "new hidden", "new cell"), unsaved):
        assert torch.equal(result, computed[name]), name
    expected = gradients_of(rounded_lstm, layer.double(), batch_sizes, num_rows)
    for name, tensor in expected.items():
        assert computed[name].dtype == torch.float32
        # A value in the middle between two of bfloat16 may be rounded to either; most tensors agree to the bits of float32.
        assert (computed[name].double() - tensor).norm() < 2e-3 * tensor.norm(), name
        torch.testing.assert_close(computed[name].double().median(), tensor.median(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("instructions", [{"avx512f", "avx512bf16"}, {"avx512f", "avx512bf16", "amx-tile", "amx-bf16"}])
@pytest.mark.parametrize("rows, inner, columns", [(1, 32, 33), (2, 64, 64), (16, 96, 70), (33, 32, 130), (70, 64, 300)])
def test_products_sum_in_float32(
    rows: int, inner: int, columns: int, instructions: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not instructions <= instruction_sets():
        pytest.skip("the processor lacks them")
    from numba import njit

    from allennlp_elmo_plus.kernels.arrays import halves, words
    from allennlp_elmo_plus.kernels.gemm import _packing

    monkeypatch.setattr(_packing, "instruction_sets", lambda: instructions)
    gemm_packed, pack_b, pack_b_transposed = _packing.gemm_packed, _packing.pack_b, _packing.pack_b_transposed

    @njit
    def multiply(left: Any, panels: Any, bias: Any, out: Any) -> None:
        gemm_packed(left, panels, bias, out)

    pack, pack_transposed = njit(lambda right: pack_b(right)), njit(lambda right_t: pack_b_transposed(right_t))
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=generator).bfloat16() for shape in ((rows, inner), (inner, columns)))
    panels = pack(halves(right))
    assert np.array_equal(panels, pack_transposed(words(right.t())))
    padded_rows, padded_columns = -(-rows // 16) * 16, len(panels) * 32
    factor = torch.zeros(padded_rows, inner, dtype=torch.bfloat16)
    factor[:rows] = left
    bias = torch.randn(padded_columns, generator=generator)
    out = torch.full((padded_rows + 1, padded_columns), 7.0)
    multiply(words(factor)[:rows], panels, bias.numpy(), out.numpy())
    expected = bias[:columns].double() + left.double() @ right.double()
    torch.testing.assert_close(out[:rows, :columns].double(), expected, rtol=1e-5, atol=1e-5)
    assert (out[padded_rows] == 7).all()


@pytest.mark.slow
@pytest.mark.parametrize("num_tokens", [1, 64, 71, 130])
def test_the_sampled_softmax_comes_near_that_of_float64(num_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    negatives = LogUniformSampler(300, 96).sample(np.random.default_rng(0))
    hidden = torch.randn(num_tokens, 64, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(300, 64, generator=generator).mul_(0.3).requires_grad_()
    bias = torch.randn(300, generator=generator).requires_grad_()
    targets = torch.arange(num_tokens) * 7 % 300
    chosen: list[str] = []
    choose = backend.candidates
    monkeypatch.setattr(backend, "candidates", lambda *a, **k: chosen.append(next(choose(*a, **k))) or choose(*a, **k))
    nll = sampled_softmax_nll(hidden, targets, weight, bias, negatives)
    assert chosen == ["numba"]
    grads = torch.autograd.grad(nll, [hidden, weight, bias])
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight, bias)]
    with backend.force("reference"):
        expected = sampled_softmax_nll(exact[0], targets, *exact[1:], negatives)
    assert abs(nll.item() - expected.item()) < 1e-3 * expected.item()
    for grad, tensor in zip(grads, torch.autograd.grad(expected, exact), strict=True):
        dense, true = (t.to_dense().double() if t.is_sparse else t.double() for t in (grad, tensor))
        assert 0 < (dense - true).norm() < 5e-3 * true.norm()
    assert [grad.dtype for grad in grads] == [torch.bfloat16, torch.float32, torch.float32]
    with torch.no_grad():
        assert sampled_softmax_nll(hidden, targets, weight, bias, negatives) == nll
