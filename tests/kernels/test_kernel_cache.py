"""Compiled kernels that are kept on disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import allennlp_elmo_plus
from allennlp_elmo_plus.kernels.jit import KernelUnavailableError, jit
from allennlp_elmo_plus.kernels.processor import instruction_sets
from tests.helpers.bfloat16 import needs_bfloat16

pytest.importorskip("numba")

RESULTS = """
import hashlib, torch
from tests.kernels.test_lstm import SMALL, WHOLE_PANELS, lstm_layer, lstm_run
with torch.autocast("cpu", torch.bfloat16, enabled={in_bfloat16}):
    results = [
        tensor
        for sizes, batch_sizes in ((SMALL, [4, 3, 3, 1]), (WHOLE_PANELS._replace(cells=256), [9, 9]))
        for tensor in lstm_run(lstm_layer(sizes, torch.float32), batch_sizes, batch_sizes[0]).values()
    ]
print(hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in results)).hexdigest())
"""


def run_code(code: str, cache: Path, **options: Any) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    if "cwd" in options:
        environment["PYTHONPATH"] = str(options["cwd"])
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, **options).stdout


@pytest.mark.slow
@pytest.mark.parametrize("in_bfloat16", [False, pytest.param(True, marks=needs_bfloat16)])
def test_kernels_from_disk_give_the_bits_of_kernels_just_compiled(tmp_path: Path, in_bfloat16: bool) -> None:
    """A resumed run compiles in one process and reads from disk in the next, some of the kernels or all of them.

    In bfloat16 each process must ask for the processor's tiles, also one that compiles nothing.
    """
    code = RESULTS.format(in_bfloat16=in_bfloat16)
    compiled = run_code(code, tmp_path)
    assert run_code(code, tmp_path) == compiled
    (cached,) = tmp_path.rglob("_numba_kernels.forward_steps*.nbi")
    cached.unlink()
    assert run_code(code, tmp_path) == compiled


def test_without_the_permission_for_tiles_kernels_that_use_them_are_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
from allennlp_elmo_plus.kernels import processor
processor._request_tiles = lambda: {granted}
from allennlp_elmo_plus.kernels.dropout import _numba_kernels
source, features = _numba_kernels.dropout._dispatcher._cache._cache_file._source_stamp
# A set of strings has another order in each process.
print(source, sorted(features))
"""
    stamps = {run_code(code.format(granted=granted), tmp_path) for granted in (True, False)}
    assert len(stamps) == (2 if "amx-tile" in instruction_sets() else 1)
    assert not any("amx" in stamp for stamp in stamps) or len(stamps) == 2


DROPOUT = """
import logging, numpy as np
from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.compile import missing_entries
logging.basicConfig(format="%(message)s")
if {full}:
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
from allennlp_elmo_plus.kernels.dropout import _numba_kernels as kernels
print(len(missing_entries({{"dropout": "float32"}})), end=" ")
values = np.ones(8, np.float32)
kernels.dropout(values, values, np.uint32(0), np.uint32(1), np.uint32(0), np.float32(2))
print(values[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("pattern, num_bytes", [("*.nbi", 0), ("*.nbi", 1000), ("*.nbc", 0), ("*.nbc", 1000)])
def test_a_kernel_whose_file_is_cut_is_compiled_again(pattern: str, num_bytes: int, tmp_path: Path) -> None:
    code = DROPOUT.format(full=False)
    assert run_code(code, tmp_path) == "1 2.0\n"
    (file,) = tmp_path.rglob(f"*.dropout*{pattern[1:]}")
    os.truncate(file, num_bytes)
    # The same code may differ by some bytes in its names.
    assert run_code(code, tmp_path).endswith(" 2.0\n") and file.stat().st_size > 1000
    assert run_code(code, tmp_path) == "0 2.0\n"


@pytest.mark.slow
def test_a_full_disk_stops_no_kernel_and_leaves_no_code_of_other_sources(tmp_path: Path) -> None:
    source, copy = Path(allennlp_elmo_plus.__file__).parent, tmp_path / "allennlp_elmo_plus"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    kernels, cache = copy / "kernels" / "dropout" / "_numba_kernels.py", tmp_path / "cache"
    now = kernels.read_text()
    kernels.write_text(now.replace("(scale if", "(7 * scale if"))
    assert run_code(DROPOUT.format(full=False), cache, cwd=tmp_path) == "1 14.0\n"
    kernels.write_text(now)
    assert run_code(DROPOUT.format(full=True), cache, cwd=tmp_path) == "1 2.0\n"
    assert run_code(DROPOUT.format(full=False), cache, cwd=tmp_path).endswith(" 2.0\n")


@pytest.mark.slow
def test_a_kernel_is_compiled_again_when_a_function_that_it_contains_has_changed(tmp_path: Path) -> None:
    source, copy = Path(allennlp_elmo_plus.__file__).parent / "kernels", tmp_path / "allennlp_elmo_plus" / "kernels"
    (copy / "lstm").mkdir(parents=True)
    for name in ("jit.py", "processor.py", "_elementwise.py", "lstm/_numba_gates.py"):
        shutil.copy(source / name, copy / name)
    code = """
import numpy as np
from allennlp_elmo_plus.kernels.lstm._numba_gates import gates_forward
gates, recurrent, cells, output = (np.ones(shape, np.float32) for shape in ((1, 4), (1, 4), (2, 1), (1, 1)))
gates_forward(gates, recurrent, cells, output, np.float32(9), 0, 0, 1, 0)
print(f"{gates[0, 0]:.4f}")
"""
    # Python finds this copy of the package first: without `__init__.py` the installed package would be found.
    for folder in (copy.parent, copy, copy / "lstm"):
        (folder / "__init__.py").touch()
    assert run_code(code, tmp_path / "cache", cwd=tmp_path) == "0.8808\n"
    functions = (copy / "_elementwise.py").read_text()
    (copy / "_elementwise.py").write_text(functions.replace("F(1) / (F(1) + exp(-x))", "F(0.5)"))
    assert run_code(code, tmp_path / "cache", cwd=tmp_path) == "0.5000\n"


@pytest.mark.slow
def test_the_log_says_once_that_kernels_are_compiled_and_nothing_when_they_come_from_disk(tmp_path: Path) -> None:
    code = """
import logging, sys
import numpy as np
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s: %(message)s")
from allennlp_elmo_plus.kernels.fingerprint import _numba_kernels as fingerprint
from allennlp_elmo_plus.kernels.dropout import _numba_kernels as dropout
fingerprint.fingerprint(np.zeros(3, np.uint64), np.zeros((8, 512), np.uint64))
values = np.ones(3, np.float32)
dropout.dropout(values, values, np.uint32(0), np.uint32(1), np.uint32(2), np.float32(3))
"""
    line = "allennlp_elmo_plus.kernels.jit: compiling kernels for this processor"
    assert run_code(code, tmp_path).startswith(line) and run_code(code, tmp_path) == ""


def test_where_kernels_cannot_be_kept_each_process_compiles_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    real, caches = numba.njit, []

    def njit(*functions: Any, **options: Any) -> Any:
        # numba decorates functions of its own without options.
        if options:
            caches.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(*functions, **options)

    monkeypatch.setattr(numba, "njit", njit)
    assert jit(lambda x: x + 1)(1) == 2
    assert caches == [True, False]


def test_types_of_arguments_that_fail_to_compile_are_told_from_errors_of_compiled_code() -> None:
    def reciprocal(values: Any) -> Any:
        if len(values) == 0:
            raise ValueError("no values")
        return 1 / values[0]

    kernel = jit(reciprocal)
    assert kernel(np.ones(1)) == 1
    with pytest.raises(ValueError, match="^no values$"):
        kernel(np.ones(0))
    with pytest.raises(KernelUnavailableError):
        kernel(["a", "list", "of", "strings"])
