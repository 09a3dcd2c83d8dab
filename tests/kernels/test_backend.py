"""The choice of the implementation that computes an operation."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.jit import KernelUnavailableError, jit

LIKE = torch.zeros(1)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An operation that numba can compute, and where it is the faster one."""
    always = backend.Backend(can=lambda situation: True, is_faster=lambda situation: situation.sizes.get("rows", 9) > 4)
    monkeypatch.setitem(backend.TABLE, "operation", {"numba": always})
    monkeypatch.setattr(backend, "_failed", set())
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    yield


def run(*names: str, **sizes: int) -> str:
    """Return the name of the backend that computes an operation which has the backends `names`."""
    return backend.run("operation", LIKE, {name: lambda name=name: name for name in names}, **sizes)


def test_sizes_decide_which_backend_is_the_faster() -> None:
    assert run("numba", "torch", "reference", rows=5) == "numba"
    assert run("numba", "torch", "reference", rows=4) == "torch"


@pytest.mark.parametrize("forced, computes", [("triton", "numba"), ("numba", "numba"), ("torch", "torch")])
def test_a_forced_backend_computes_whatever_is_faster(forced: str, computes: str, monkeypatch: Any) -> None:
    monkeypatch.setenv(backend.VARIABLE, forced)
    assert run("numba", "torch", "reference", rows=9 if forced == "triton" else 4) == computes


def test_an_operation_without_the_forced_backend_is_computed_by_its_lowest() -> None:
    with backend.force("reference"):
        assert run("numba", "torch") == "torch"


def test_a_variable_that_names_no_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "cuda")
    with pytest.raises(
        ValueError, match="`ELMO_PLUS_BACKEND` must be one of triton, numba, onednn, torch, reference, got 'cuda'"
    ):
        run("torch")


def test_a_kernel_that_cannot_be_compiled_is_logged_once_and_the_next_backend_computes(caplog: Any) -> None:
    pytest.importorskip("numba")
    # Numbers and texts cannot be added: numba refuses to compile the sum.
    broken = jit(lambda number: number + "text")
    implementations = {"numba": lambda: broken(1), "torch": lambda: "torch"}
    with caplog.at_level(logging.WARNING):
        assert [backend.run("operation", LIKE, implementations) for _ in range(2)] == ["torch", "torch"]
    (record,) = [record for record in caplog.records if record.name == backend.__name__]
    assert "`operation` cannot be computed by numba, the next backend computes it" in record.getMessage()


def test_a_failed_backend_is_tried_once_and_two_directions_that_fail_together_log_once(caplog: Any) -> None:
    attempts: list[str] = []
    both_fail = Barrier(2)

    def fail() -> str:
        attempts.append("numba")
        both_fail.wait(timeout=10)
        raise KernelUnavailableError("no compiler")

    def compute(_: int) -> str:
        return backend.run("operation", LIKE, {"numba": fail, "torch": lambda: "torch"})

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(compute, range(2))) == ["torch", "torch"]
    assert compute(2) == "torch"
    assert len(attempts) == 2 and len(caplog.records) == 1


def test_a_failure_counts_for_one_dtype() -> None:
    def fail() -> str:
        raise KernelUnavailableError("no bfloat16")

    backend.run("operation", LIKE.bfloat16(), {"numba": fail, "torch": lambda: "torch"})
    assert run("numba", "torch") == "numba"


def test_an_error_of_the_last_backend_is_raised_as_it_is() -> None:
    def fail() -> None:
        raise KernelUnavailableError("no compiler")

    with pytest.raises(KernelUnavailableError, match="no compiler"):
        backend.run("operation", LIKE, {"numba": fail})


def test_an_error_while_a_kernel_computes_is_raised() -> None:
    def fail() -> None:
        raise ValueError("out of range")

    with pytest.raises(ValueError, match="out of range"):
        backend.run("operation", LIKE, {"numba": fail, "torch": lambda: None})
