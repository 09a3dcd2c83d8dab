"""Row-sparse gradients averaged over processes, compared with the mean of the same gradients as dense tensors."""

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from allennlp_elmo_plus.training.adagrad import Adagrad
from allennlp_elmo_plus.training.distributed.sparse_gradients import (
    SparseGradientAllReduce,
    exclude_from_ddp,
    is_all_reduced_by_rows,
    is_excluded_from_ddp,
)
from tests.helpers.runs.process_pool import ProcessPool

NUM_ROWS, WIDTH = 11, 3
# The rows of each process: repeated and unsorted; none; others.
ROWS = [[4, 1, 4, 9], [], [0, 9, 10, 1]]


def gradients(rank: int) -> list[Tensor]:
    """Return uncoalesced sparse gradients of a matrix and of a vector."""
    torch.manual_seed(rank)
    rows = torch.tensor([ROWS[rank]], dtype=torch.int64)
    sizes = [(NUM_ROWS, WIDTH), (NUM_ROWS,)]
    values = [torch.randn(rows.shape[1], *size[1:], dtype=torch.double) for size in sizes]
    with torch.sparse.check_sparse_tensor_invariants():
        return [torch.sparse_coo_tensor(rows, value, size) for value, size in zip(values, sizes)]


def average_in_this_process(rank_without_gradient: int) -> tuple[list[Tensor], list[bool], tuple[int, int]]:
    """Return the averaged gradients, whether each parameter is marked as averaged, and the exchanged bytes."""
    rank = dist.get_rank()
    parameters = [nn.Parameter(torch.full(size, float(rank)).double()) for size in ((NUM_ROWS, WIDTH), (NUM_ROWS,))]
    exchange = SparseGradientAllReduce(parameters)
    assert all((parameter == 0).all() for parameter in parameters), "process 0 broadcasts its values"
    for parameter, gradient in zip(parameters, gradients(rank)):
        parameter.grad = None if rank == rank_without_gradient else gradient
    exchange.average()
    return (
        [parameter.grad for parameter in parameters],
        [is_all_reduced_by_rows(parameter) for parameter in parameters],
        tuple(exchange.last_bytes),
    )


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_every_process_gets_the_mean_of_the_dense_gradients(processes: ProcessPool, num_processes: int) -> None:
    results = processes.run(num_processes, average_in_this_process, -1)
    for index in range(2):
        expected = sum(gradients(rank)[index].to_dense() for rank in range(num_processes)) / num_processes
        rows = sorted(set(sum(ROWS[:num_processes], [])))
        for grads, is_marked, _ in results:
            assert all(is_marked)
            assert grads[index].is_coalesced() and grads[index].indices()[0].tolist() == rows
            torch.testing.assert_close(grads[index].to_dense(), expected, rtol=1e-15, atol=0)
            assert torch.equal(grads[index].values(), results[0][0][index].values())


def test_a_process_without_a_gradient_counts_as_zeros(processes: ProcessPool) -> None:
    expected = gradients(1)[0].to_dense() / 2
    for grads, _, _ in processes.run(2, average_in_this_process, 0):
        torch.testing.assert_close(grads[0].to_dense(), expected, rtol=1e-15, atol=0)


def test_exchanged_bytes_are_one_per_row_and_the_values_of_rows_with_a_gradient(processes: ProcessPool) -> None:
    for _, _, (rows, values) in processes.run(3, average_in_this_process, -1):
        assert rows == 2 * NUM_ROWS
        assert values == 5 * (WIDTH + 1) * 8


def average_empty_gradients() -> list[int]:
    parameter = nn.Parameter(torch.ones(4, 2))
    exchange = SparseGradientAllReduce([parameter])
    parameter.grad = torch.sparse_coo_tensor(torch.empty(1, 0, dtype=torch.int64), torch.empty(0, 2), (4, 2))
    exchange.average()
    return list(parameter.grad.shape)


def test_gradients_without_rows_are_averaged(processes: ProcessPool) -> None:
    assert processes.run(2, average_empty_gradients) == [[4, 2], [4, 2]]


def refuse_dense() -> str:
    parameter = nn.Parameter(torch.ones(4, 2))
    exchange = SparseGradientAllReduce([parameter])
    parameter.grad = torch.ones(4, 2)
    with pytest.raises(ValueError) as error:
        exchange.average()
    return str(error.value)


def test_a_dense_gradient_is_refused(processes: ProcessPool) -> None:
    assert "a parameter of shape (4, 2) must be sparse" in processes.run(1, refuse_dense)[0]
    with pytest.raises(ValueError, match="`parameters` must hold at least 1"):
        SparseGradientAllReduce([])


class Lookup(nn.Module):
    """A table of vectors under two names, which gets sparse gradients, and a scale, which gets dense gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.arange(8.0, dtype=torch.double).view(4, 2))
        self.inner = nn.Module()
        self.inner.table = self.table
        self.scale = nn.Parameter(torch.ones(2, dtype=torch.double))

    def forward(self, rows: Tensor) -> Tensor:
        return (nn.functional.embedding(rows, self.inner.table, sparse=True) * self.scale).sum()


def step_under_ddp() -> tuple[dict[str, Tensor], set[str], float]:
    model = Lookup()
    exclude_from_ddp(model, [model.table])
    assert is_excluded_from_ddp(model.table) and not is_excluded_from_ddp(model.scale)
    wrapped = DistributedDataParallel(model)
    optimizer = Adagrad(model.parameters(), max_norm=1.0, sparse_all_reduce=SparseGradientAllReduce([model.table]))
    wrapped(torch.tensor([[0, 3], [3, 1]][dist.get_rank()])).backward()
    optimizer.step()
    return model.state_dict(), wrapped.parameters_to_ignore, optimizer.last_grad_norm


def test_a_step_under_ddp_is_that_of_the_mean_gradient(processes: ProcessPool) -> None:
    model = Lookup()
    optimizer = Adagrad(model.parameters(), max_norm=1.0)
    ((model(torch.tensor([0, 3])) + model(torch.tensor([3, 1]))) / 2).backward()
    optimizer.step()
    for state, ignored, norm in processes.run(2, step_under_ddp):
        assert {"table", "inner.table"} <= set(ignored)
        assert norm == pytest.approx(optimizer.last_grad_norm, rel=1e-14)
        for name, expected in model.state_dict().items():
            torch.testing.assert_close(state[name], expected, rtol=1e-14, atol=0)
