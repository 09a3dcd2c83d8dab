"""Compiled loops that are kept on disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")


def test_loops_from_disk_give_the_bits_of_those_just_compiled(tmp_path: Path) -> None:
    """A run goes on in another process than it began in: one compiles, the other reads what was kept, in part or whole."""
    code = """
import hashlib, torch
from tests.kernels.test_lstm_backends import WHOLE, cnn_run, lstm_run
results = lstm_run(torch.float, True, True, [4, 3, 3, 1])
results += lstm_run(torch.float, True, True, [9, 9], sizes=WHOLE) + cnn_run(torch.float)
print(hashlib.sha256(b"".join(result.detach().numpy().tobytes() for result in results)).hexdigest())
"""

    def run() -> str:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    compiled_here = run()
    assert run() == compiled_here
    (kept,) = tmp_path.rglob("_numba_kernels.forward_steps*.nbi")
    kept.unlink()
    assert run() == compiled_here
