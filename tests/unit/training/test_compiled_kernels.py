"""Kernels that are compiled before the first batch of a training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.bfloat16 import needs_bfloat16

pytest.importorskip("numba")

# Prints, for a training step of a small model, the kernels that the step used and that were not planned, and the reverse.
STEP = """
import sys
import torch
from allennlp_elmo_plus.data.batching.negatives import sampler_of
from allennlp_elmo_plus.kernels import compile
from allennlp_elmo_plus.kernels.jit import Kernel
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.plugin.models.model_inputs import negatives_of_batch
from allennlp_elmo_plus.training.adagrad import Adagrad
from allennlp_elmo_plus.training.compiled_kernels import compiled_operations
from tests.helpers.small_models import LSTM, batch_of, small_options

torch.set_num_threads({threads})
dtype = torch.{dtype}
cnn = small_options().to_dict(inference=False)["char_cnn"]
options = small_options(
    char_cnn=cnn if {has_characters} else None,
    lstm={{**LSTM, "dim": 64, "projection_dim": 32}},
    dropout=0.1,
    n_negative_samples_batch=32,
)
batch = batch_of([["the", "river", "rises"], ["the", "mill", "turns"]])
operations = compiled_operations(options, 2, 4, dtype)
planned = {{
    (entry.kernel, types)
    for entry in compile.ENTRIES
    if operations.get(entry.operation) == entry.dtype
    for types in map(compile._types, entry.signatures)
}}
model = build_language_model(options, 100)
optimizer = Adagrad(model.parameters(), max_norm=10.0)
with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
    result = model.sampled_loss(batch, negatives_of_batch(batch, sampler_of(100, 32)), None)
(result.forward_nll_sum + result.backward_nll_sum).backward()
optimizer.step()
used = {{
    (module.removeprefix("allennlp_elmo_plus.kernels.") + "." + name, types)
    for module in list(sys.modules)
    if module.startswith("allennlp_elmo_plus.kernels.") and "._numba" in module
    for name, kernel in vars(sys.modules[module]).items()
    if isinstance(kernel, Kernel)
    for types in kernel._dispatcher.signatures
}}
print(sorted(name for name, _ in used - planned), sorted({{name for name, _ in planned - used}}))
"""

# Compiles the kernels of two small operations as a training compiles its own, in two processes.
COMPILE = """
import logging, subprocess, sys
import torch
from allennlp_elmo_plus.kernels import compile
from allennlp_elmo_plus.training import compiled_kernels
from tests.helpers.small_models import small_options
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
compiled_kernels.compiled_operations = lambda *arguments: {{"dropout": "float32", "adagrad": "float32"}}
compiled_kernels.num_usable_cores = lambda: 2
{change}
compiled_kernels.compile_training_kernels(small_options(), 2, 4, torch.float32, torch.device("cpu"))
print("missing", len(compile.missing_entries(compiled_kernels.compiled_operations())))
"""
LOG_LINE = "compiling kernels for this processor"


def start(code: str, **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)


def output_of(process: "subprocess.Popen[str]") -> list[str]:
    lines = process.communicate()[0].splitlines()
    assert process.returncode == 0
    return lines


def compile_in(directory: Path, change: str = "") -> list[str]:
    return output_of(start(COMPILE.format(change=change), NUMBA_CACHE_DIR=str(directory)))


@pytest.mark.slow
@pytest.mark.parametrize("has_characters", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_kernels_of_a_step_are_those_compiled_before(threads: int, has_characters: bool) -> None:
    code = STEP.format(dtype="float32", threads=threads, has_characters=has_characters)
    assert output_of(start(code)) == ["[] []"]


@pytest.mark.slow
@needs_bfloat16
def test_the_kernels_of_a_step_in_bfloat16_are_among_those_compiled_before() -> None:
    (line,) = output_of(start(STEP.format(dtype="bfloat16", threads=2, has_characters=True)))
    assert line.startswith("[] ")


@pytest.mark.slow
def test_kernels_are_compiled_once_by_two_processes_and_then_nothing_is_started(tmp_path: Path) -> None:
    log, missing = compile_in(tmp_path)
    assert log.startswith(LOG_LINE) and missing == "missing 0"
    assert compile_in(tmp_path, "subprocess.Popen = compile.os.pipe = None") == ["missing 0"]


@pytest.mark.slow
def test_two_trainings_that_start_at_once_compile_each_kernel_once(tmp_path: Path) -> None:
    code = COMPILE.format(change="")
    processes = [start(code, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    lines = [line for process in processes for line in output_of(process)]
    assert sum(line.startswith(LOG_LINE) for line in lines) == 1 and lines.count("missing 0") == 2


@pytest.mark.slow
@pytest.mark.parametrize("executable", ["/bin/false", "/no/such/program"])
def test_a_process_that_fails_leaves_all_kernels_to_the_others(tmp_path: Path, executable: str) -> None:
    log, missing = compile_in(tmp_path, f"sys.executable = {executable!r}")
    assert log.startswith(LOG_LINE) and missing == "missing 0"


@pytest.mark.slow
def test_a_kernel_that_cannot_be_compiled_is_left_to_its_first_use(tmp_path: Path) -> None:
    change = """
real, failing = compile.Entry.compile, compile.missing_entries(compiled_kernels.compiled_operations())[0]
def compile_or_fail(entry):
    if entry == compile.ENTRIES[failing]:
        raise RuntimeError("out of memory")
    real(entry)
compile.Entry.compile = compile_or_fail
sys.executable = "/bin/false"
"""
    log, missing = compile_in(tmp_path, change)
    assert log.startswith(LOG_LINE) and missing == "missing 1"
