"""Which backend computes the LSTM, and which one after a failure."""

from typing import Any, Optional

import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.jit import KernelUnavailableError
from allennlp_elmo_plus.kernels.lstm import clipped_lstm as op
from tests.kernels.test_lstm import SMALL, assert_near_definition, lstm_arguments, lstm_layer


def test_without_gradients_nothing_is_saved_though_parameters_require_them(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = lstm_layer(SMALL, torch.float32)
    arguments = lstm_arguments(layer, [1, 1], 1)
    saves: list[bool] = []
    real = op.forward

    def spy(*arguments: Any) -> Any:
        saves.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(op, "forward", spy)
    layer(*arguments)
    with torch.no_grad():
        layer(*arguments)
    assert saves == [True, False]


@pytest.mark.parametrize("broken", ["_numba_loop", "_numba_gates"])
@pytest.mark.parametrize("function", ["forward", "backward"])
def test_where_a_kernel_does_not_compile_the_next_backend_computes_and_the_log_says_so(
    broken: str, function: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("numba")
    from allennlp_elmo_plus.kernels.lstm import _numba_gates, _numba_kernels

    def refuse(*_: Any) -> None:
        raise KernelUnavailableError("no compiler")

    monkeypatch.setattr(backend, "_failed", set())
    monkeypatch.setattr(_numba_kernels, f"{function}_steps", refuse)
    if broken == "_numba_gates":
        monkeypatch.setattr(_numba_gates, f"gates_{function}", refuse)
    for _ in range(2):
        assert_near_definition(lstm_layer(SMALL, torch.float32), 1e-5, [4, 3, 2], 4)
    operations = [record.args[0] for record in caplog.records]
    assert operations == (["lstm.loop"] if broken == "_numba_loop" else ["lstm.loop", "lstm.gates"])


def chosen(
    rows: int,
    steps: int,
    cells: int,
    projection: int,
    product: torch.dtype = torch.float32,
    state: torch.dtype = torch.float32,
    packs: bool = True,
) -> str:
    """Return the backend of the loop over time."""
    like = torch.empty(0, dtype=state)
    sizes = {"kernel_values": 2 * projection * 4 * cells, "rows": rows, "tokens": rows * steps}
    dtypes = {"has_one_dtype": int(product == state), "is_packed_bfloat16": int(packs and product == torch.bfloat16)}
    return backend.choose("lstm.loop", like, **sizes, **dtypes)


def test_sizes_and_threads_decide_whether_the_steps_are_one_compiled_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    bfloat16 = torch.bfloat16
    assert chosen(1, 1, 1024, 256) == chosen(4, 4, 4096, 512) == "numba"
    assert chosen(3, 20, 4096, 512) == chosen(20, 3, 4096, 512) == "torch"
    assert chosen(4, 4, 1024, 256, bfloat16) == chosen(4, 4, 4096, 512, bfloat16) == "numba"
    # Without the processor's instructions, or where the sizes do not fit them.
    assert chosen(4, 4, 1024, 256, bfloat16, packs=False) == "torch"
    assert chosen(4, 4, 5, 3, torch.double, torch.double) == "torch"
    # The loop would leave one of two threads without work.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert (chosen(32, 20, 512, 128), chosen(32, 20, 1024, 256)) == ("numba", "torch")
    monkeypatch.setattr(torch, "get_num_threads", lambda: backend.MAX_THREADS + 1)
    assert chosen(32, 20, 512, 128) == "torch"


def test_each_direction_uses_the_sizes_that_the_table_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = lstm_layer(SMALL, torch.float32)
    seen: list[dict[str, int]] = []
    real = backend.candidates

    def candidates(operation: str, like: Optional[Tensor], **sizes: int) -> Any:
        if operation == "lstm.loop":
            seen.append(sizes)
        return real(operation, like, **sizes)

    monkeypatch.setattr(backend, "candidates", candidates)
    layer(*lstm_arguments(layer, [4, 3], 5)).outputs.sum().backward()
    expected = {"kernel_values": (5 + 6) * 4 * 37, "rows": 5, "tokens": 7}
    expected |= {"has_one_dtype": 1, "is_packed_bfloat16": 0}
    assert seen == [expected, expected]
