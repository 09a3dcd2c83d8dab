"""The part of a machine and its software that decides the last bits of what a training computes."""

import logging
import platform
import shlex
import sys
from pathlib import Path
from typing import Union

import numpy as np
import torch

from allennlp_elmo_plus import __version__
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.threads import num_threads
from allennlp_elmo_plus.training.distributed.world import world

logger = logging.getLogger(__name__)

# By what an entry is called in a warning.
Environment = dict[str, Union[str, int]]


def environment(device: torch.device) -> Environment:
    """Return what decides the last bits of a training on `device`: threads, processes, instruction sets and versions."""
    result: Environment = {
        "number of processes": world().num_processes,
        "number of threads": num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "machine": platform.machine(),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "version of torch": str(torch.__version__),
        "version of numpy": np.__version__,
        "version of allennlp_elmo_plus": __version__,
    }
    try:
        from llvmlite import __version__ as llvmlite_version
        from llvmlite.binding import get_host_cpu_name

        result.update({"processor": get_host_cpu_name(), "version of llvmlite": llvmlite_version})
        from numba import __version__ as numba_version
    except ImportError:
        # No kernel is compiled.
        numba_version = "missing"
    return {**result, "version of numba": numba_version}


def describe_start(current: Environment) -> dict[str, str]:
    """Return the command that started this process, its versions and its machine, `current`, each by its name in a log."""
    program = Path(sys.argv[0])
    command = ["python", "-m", program.parent.name] if program.name == "__main__.py" else [program.name]
    prefix = "version of "
    versions = [f"{name.removeprefix(prefix)} {value}" for name, value in current.items() if name.startswith(prefix)]
    machine = [f"{name} {value}" for name, value in current.items() if not name.startswith(prefix)]
    return {
        "command": shlex.join([*command, *sys.argv[1:]]),
        "versions": ", ".join([f"Python {platform.python_version()}", *versions]),
        "machine": ", ".join(machine),
    }


def compare_environments(before: Environment, now: Environment, strict: bool) -> None:
    """Log a warning that names each entry that differs between `before`, the environment of a checkpoint, and the current one.

    Entries that only one of both has are ignored. With `strict` a difference is an error instead.

    Raises:
        InputError: with `strict`, where an entry differs.
    """
    differing = [
        f"{name} (was {before[name]}, is {now[name]})" for name in now if name in before and before[name] != now[name]
    ]
    if not differing:
        return
    message = f"the run is recovered with another {', another '.join(differing)}"
    if strict:
        raise InputError(f"{message}: with `strict_resume` they must be the same")
    logger.warning("%s: its losses will not be, bit for bit, those of a run that was not interrupted", message)
