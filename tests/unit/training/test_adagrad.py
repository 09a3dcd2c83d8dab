"""Adagrad with a global-norm clip, for dense and row-sparse gradients, compared with PyTorch's."""

import copy
import math

import pytest
import torch

from allennlp_elmo_plus.kernels.adagrad import adagrad_update
from allennlp_elmo_plus.training.adagrad import Adagrad
from tests.helpers.allocation_spy import AllocationSpy


def params_of(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()
        for shape in ((7, 5), (11,), (), (3, 2, 4))
    ]


def grads_of(params, seed, factor=1.0):
    generator = torch.Generator().manual_seed(100 + seed)
    return [factor * torch.randn(param.shape, generator=generator, dtype=param.dtype) for param in params]


def run_steps(optimizer, params, num_steps, factor=1.0, first=0):
    for step in range(first, first + num_steps):
        for param, grad in zip(params, grads_of(params, step, factor), strict=True):
            param.grad = grad
        optimizer.step()


def rows_grad(shape, rows, seed=0, dtype=torch.float64):
    """Return a sparse gradient with values in `rows`, which may repeat, and the same gradient as a dense tensor."""
    values = torch.randn(len(rows), *shape[1:], generator=torch.Generator().manual_seed(seed), dtype=dtype)
    with torch.sparse.check_sparse_tensor_invariants():
        sparse = torch.sparse_coo_tensor(torch.tensor([rows], dtype=torch.int64), values, shape)
    return sparse, sparse.to_dense()


@pytest.mark.parametrize("block_size", [1, 6, 1 << 17])
def test_dense_steps_are_those_of_pytorch(monkeypatch, block_size):
    monkeypatch.setattr(adagrad_update, "CPU_BLOCK_SIZE", block_size)
    ours, theirs = params_of(), params_of()
    run_steps(Adagrad(ours, lr=0.3, initial_accumulator_value=0.5), ours, 5)
    run_steps(torch.optim.Adagrad(theirs, lr=0.3, initial_accumulator_value=0.5, eps=0, foreach=False), theirs, 5)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_first_step_has_the_value_of_the_equation():
    param = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    param.grad = torch.tensor([3.0, 0.0], dtype=torch.float64)
    Adagrad([param]).step()
    # With the default learning rate 0.2 and sum 1: 1 - 0.2 * 3 / sqrt(1 + 9).
    torch.testing.assert_close(param.tolist(), [1 - 0.6 / math.sqrt(10), -2.0], rtol=1e-15, atol=0)


@pytest.mark.parametrize("shape", [(40, 3), (40,), (40, 2, 3)])
@pytest.mark.parametrize("rows", [[5, 2, 39], [7, 7, 0, 7], []])
@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_sparse_steps_are_those_of_dense_gradients_and_change_no_other_row(monkeypatch, shape, rows, max_norm):
    monkeypatch.setattr(adagrad_update, "CPU_BLOCK_SIZE", 6)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    row_wise, dense = start.clone().requires_grad_(), start.clone().requires_grad_()
    row_optimizer, dense_optimizer = Adagrad([row_wise], max_norm=max_norm), Adagrad([dense], max_norm=max_norm)
    for seed in range(3):
        row_wise.grad, dense.grad = rows_grad(shape, rows, seed)
        row_optimizer.step()
        dense_optimizer.step()
        assert row_optimizer.last_grad_norm == pytest.approx(dense_optimizer.last_grad_norm, rel=1e-14)
    torch.testing.assert_close(row_wise, dense, rtol=1e-15, atol=1e-15)
    untouched = torch.tensor([row not in rows for row in range(len(start))])
    assert torch.equal(row_wise[untouched], start[untouched])
    assert torch.equal(row_optimizer.state[row_wise]["sum"][untouched], torch.ones_like(start)[untouched])
    assert not rows or not torch.equal(row_wise, start)


def test_dense_and_sparse_gradients_share_one_global_norm():
    dense, table = torch.zeros(4, dtype=torch.float64), torch.zeros(30, 2, dtype=torch.float64)
    ours, theirs = ([dense.clone().requires_grad_(), table.clone().requires_grad_()] for _ in range(2))
    sparse_grad, densified = rows_grad((30, 2), [4, 4, 11])
    dense_grad = torch.arange(4, dtype=torch.float64)
    optimizer = Adagrad(ours, max_norm=1.5)
    ours[0].grad, ours[1].grad = dense_grad.clone(), sparse_grad
    optimizer.step()
    theirs[0].grad, theirs[1].grad = dense_grad.clone(), densified
    norm = torch.nn.utils.clip_grad_norm_(theirs, 1.5)
    torch.optim.Adagrad(theirs, lr=0.2, initial_accumulator_value=1.0, eps=0).step()
    assert norm > 1.5
    assert optimizer.last_grad_norm == pytest.approx(norm.item(), rel=1e-14)
    torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=0)


def test_gradients_with_a_norm_below_the_maximum_are_not_scaled():
    clipped, unclipped = params_of(), params_of()
    run_steps(Adagrad(clipped, max_norm=1e6), clipped, 3)
    run_steps(Adagrad(unclipped), unclipped, 3)
    torch.testing.assert_close(clipped, unclipped, rtol=0, atol=0)


def test_the_norm_is_that_of_all_parameter_groups_together():
    params = params_of()
    optimizer = Adagrad([{"params": params[:2], "lr": 0.0}, {"params": params[2:]}], max_norm=1.0)
    in_one_group = [param.clone().detach().requires_grad_() for param in params]
    run_steps(optimizer, params, 1)
    run_steps(Adagrad(in_one_group, max_norm=1.0), in_one_group, 1)
    torch.testing.assert_close(params[:2], params_of()[:2], rtol=0, atol=0)
    torch.testing.assert_close(params[2:], in_one_group[2:], rtol=0, atol=0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("max_norm", [None, 1.0])
def test_a_gradient_norm_that_is_not_finite_changes_no_parameter(value, sparse, max_norm):
    params = params_of()
    optimizer = Adagrad(params, max_norm=max_norm)
    run_steps(optimizer, params, 2)
    before, state = copy.deepcopy(params), copy.deepcopy(optimizer.state_dict())
    for param, grad in zip(params, grads_of(params, 2), strict=True):
        param.grad = grad
    params[0].grad[3, 1] = value
    if sparse:
        params[0].grad = params[0].grad.to_sparse(1)
    with pytest.raises(
        FloatingPointError, match=f"the gradient norm is {value} at optimizer step 3; no parameter was changed"
    ):
        optimizer.step()
    torch.testing.assert_close([*params], before, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state_dict(), state, rtol=0, atol=0)
    norms = []
    optimizer.on_nonfinite_norm = norms.append
    optimizer.step()
    assert len(norms) == 1 and not math.isfinite(norms[0])
    torch.testing.assert_close([*params], before, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state_dict(), state, rtol=0, atol=0)


def test_a_sparse_step_allocates_memory_only_for_its_rows():
    table = torch.zeros(5000, 4, requires_grad=True)
    optimizer = Adagrad([table], max_norm=1.0)
    for seed in range(2):
        table.grad = rows_grad((5000, 4), [1, 4999, 77], seed, torch.float32)[0]
        with AllocationSpy() as spy:
            optimizer.step()
    assert spy.largest <= 3 * 4


@pytest.mark.parametrize("sparse", [True, False])
def test_a_reloaded_state_continues_bit_for_bit(sparse):
    def run(optimizer, params, first, num_steps):
        for step in range(first, first + num_steps):
            for param, grad in zip(params, grads_of(params, step), strict=True):
                param.grad = grad
            if sparse:
                params[0].grad = rows_grad((7, 5), [1, 6, 1], step)[0]
            optimizer.step()

    uninterrupted, resumed = params_of(), params_of()
    run(Adagrad(uninterrupted, max_norm=1.0), uninterrupted, 0, 6)
    first_half = Adagrad(resumed, max_norm=1.0)
    run(first_half, resumed, 0, 3)
    second_half = Adagrad(resumed, lr=9.0, initial_accumulator_value=9.0, max_norm=1.0)
    second_half.load_state_dict(copy.deepcopy(first_half.state_dict()))
    assert second_half.param_groups[0]["num_steps"] == 3
    run(second_half, resumed, 3, 3)
    torch.testing.assert_close(resumed, uninterrupted, rtol=0, atol=0)


def test_parameters_without_a_gradient_stay_the_same():
    params = params_of()
    params[0].grad = torch.ones_like(params[0])
    optimizer = Adagrad(params)
    assert optimizer.last_grad_norm is None
    optimizer.step()
    assert optimizer.last_grad_norm == pytest.approx(math.sqrt(35))
    torch.testing.assert_close(params[1:], params_of()[1:], rtol=0, atol=0)
    optimizer.zero_grad()
    optimizer.step()
    assert optimizer.last_grad_norm == 0


def test_a_closure_is_called_with_gradients_enabled():
    param = torch.tensor([2.0], requires_grad=True)
    optimizer = Adagrad([param])

    def closure():
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert optimizer.last_grad_norm == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, "`lr` must be at least 0 and finite, got -0.1"),
        ({"lr": math.nan}, "`lr` must be at least 0 and finite, got nan"),
        ({"initial_accumulator_value": 0.0}, "`initial_accumulator_value` must be positive and finite, got 0.0"),
        ({"max_norm": 0.0}, "`max_norm` must be positive and finite, or None for no clip, got 0.0"),
        ({"max_norm": math.inf}, "`max_norm` must be positive and finite, or None for no clip, got inf"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        Adagrad(params_of(), **options)


def test_an_argument_out_of_range_in_a_parameter_group_is_refused():
    with pytest.raises(ValueError, match="`lr` must be at least 0 and finite, got -1"):
        Adagrad([{"params": params_of(), "lr": -1}])


def test_a_gradient_sparse_in_two_dimensions_is_refused():
    param = torch.zeros(3, 4, requires_grad=True)
    param.grad = torch.eye(3, 4).to_sparse()
    with pytest.raises(ValueError, match=r"sparse in its first dimension only, got 2 .* of shape \(3, 4\)"):
        Adagrad([param]).step()


@pytest.mark.parametrize("sparse", [True, False])
def test_a_step_increments_the_version_of_each_parameter(sparse):
    param = torch.zeros(40, 3, requires_grad=True)
    param.grad = rows_grad((40, 3), [1], dtype=torch.float32)[0 if sparse else 1]
    version = param._version
    Adagrad([param]).step()
    assert param._version > version
