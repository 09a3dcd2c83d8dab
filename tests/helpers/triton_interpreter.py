"""Triton's kernels without a GPU: its interpreter runs them on the CPU."""

import importlib
import sys
from types import ModuleType

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def import_kernels(patch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """Return the module `name` with kernels that run here, until `patch` is undone. Where Triton is not installed the test is skipped.

    Triton reads the variable where it decorates a kernel: the module is imported anew, and dropped after.
    """
    pytest.importorskip("triton", reason="Triton, which has builds for Linux alone, is not installed")
    if DEVICE == "cpu":
        patch.setenv("TRITON_INTERPRET", "1")
    package, _, attribute = name.rpartition(".")
    # To set both first has them put back as they were, there or not.
    patch.setitem(sys.modules, name, None)
    patch.setattr(importlib.import_module(package), attribute, None, raising=False)
    del sys.modules[name]
    return importlib.import_module(name)
