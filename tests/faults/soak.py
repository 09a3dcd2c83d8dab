"""
`python -m tests.faults.soak [--kills 50] [--configs .] [--steps 20000] [--seed 0]`: the long form of the fault tests, see
`docs/reliability.md`.

1. Runs are ended at random moments by SIGKILL and SIGTERM, or their disk fills up. Each is recovered and compared with an
   uninterrupted run. One of them is a distributed training in new processes.
2. Runs of many configs are interrupted, recovered and compared in the same way.
3. A tiny model is trained for many steps. Memory, open files and threads must not grow.

The results are printed. The exit status is 1 if a check fails.
"""

import argparse
import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.full_disk import train_on_full_disk
from tests.faults.kills import kill_at_random
from tests.faults.recorder import Resources, read_resources
from tests.faults.runs import (
    Run,
    assert_same_run,
    config_of,
    in_two_processes,
)
from tests.helpers.runs.fork_server import TIMEOUT_SECONDS, ForkServer
from tests.helpers.runs.resume_configs import RESUME_CONFIGS, resume_in_process
from tests.helpers.small_text import SENTENCES, write_text

SIGNALS_PER_RUN = 5
STEPS_PER_EPOCH = 1000
STEPS_BETWEEN_SAMPLES = 100
# By then the allocator has seen every size of batch, several validations and checkpoints.
WARM_UP_STEPS = 4000
MAX_BYTES_PER_STEP = 1000
MAX_SECONDS_PER_STEP = 0.5
SAME = "every loss and every weight is that of an uninterrupted run"


def soak_signals(
    server: ForkServer, directory: Path, uninterrupted: Run, name: str, num_signals: int, seed: int
) -> None:
    num_ended = num_runs = 0
    while num_ended < num_signals:
        run = Run(server, directory / f"{name}{num_runs}")
        num_kills = min(SIGNALS_PER_RUN, num_signals - num_ended)
        num_ended += kill_at_random(run, num_kills, seed + num_runs, signal.Signals[name])
        assert_same_run(run, uninterrupted)
        num_runs += 1
        print(f"{name}: {num_ended} signals in {num_runs} runs; {SAME}", flush=True)


def soak_full_disks(server: ForkServer, directory: Path, uninterrupted: Run, num_disks: int) -> None:
    total_bytes = sum(path.stat().st_size for path in uninterrupted.out.rglob("*") if path.is_file())
    for number in range(num_disks):
        run = Run(server, directory / f"disk{number}")
        train_on_full_disk(run, total_bytes * number // num_disks)
        assert_same_run(run, uninterrupted)
    print(f"full disk: disks of {num_disks} sizes; {SAME}", flush=True)


def soak_new_processes(server: ForkServer, directory: Path) -> None:
    """Interrupt and recover a training in two new processes, which are not forks of the server."""
    uninterrupted, run = (in_two_processes(server, directory / name) for name in ("forks", "new"))
    assert uninterrupted.finish() == 0, uninterrupted.log.read_text()[-3000:]
    process = run.start(new_processes=True)
    run.wait_for_batches(5)
    assert run.kill(process, signal.SIGTERM) == 128 + signal.SIGTERM, run.log.read_text()[-3000:]
    assert run.finish("--recover", new_processes=True) == 0, run.log.read_text()[-3000:]
    assert_same_run(run, uninterrupted)
    print(f"two new processes, ended by SIGTERM and recovered; {SAME}", flush=True)


def soak_configs(server: ForkServer, directory: Path, names: Sequence[str]) -> None:
    """Interrupt and recover a run of each of the resume configs `names`, in its own process."""
    failures = []
    for number, name in enumerate(names):
        log = directory / f"config{number}.txt"
        process = server.call(resume_in_process, name, str(directory / f"config{number}"), str(log))
        if server.wait(process, TIMEOUT_SECONDS):
            failures.append(f"{name}: {log.read_text()[-2000:]}")
    assert not failures, "\n".join(failures)
    print(f"{len(names)} configs, each interrupted twice in mid-epoch; {SAME}: {', '.join(names)}", flush=True)


def soak_steps(server: ForkServer, directory: Path, num_steps: int) -> None:
    run = Run(server, directory / "steps", long_run(directory / "steps", num_steps))
    timeout = TIMEOUT_SECONDS + num_steps * MAX_SECONDS_PER_STEP
    assert run.wait(run.start(), timeout) == 0, run.log.read_text()[-3000:]
    samples = [sample for sample in read_resources(run.out) if sample.num_batches > WARM_UP_STEPS]
    slope = bytes_per_step(samples)
    files = maximum_of_each_half([sample.num_files for sample in samples])
    threads = maximum_of_each_half([sample.num_threads for sample in samples])
    print(
        f"{samples[-1].num_batches} steps: resident memory {samples[-1].resident_bytes / 1e6:.0f} MB, growing "
        f"{slope / 1e3:.3f} MB per 1,000 steps after the first {WARM_UP_STEPS}; at most {files[0]} open files and "
        f"{threads[0]} threads in the first half of these, {files[1]} and {threads[1]} in the second"
    )
    assert slope < MAX_BYTES_PER_STEP, f"{slope} bytes per step"
    assert files[1] <= files[0] and threads[1] <= threads[0], f"open files {files}, threads {threads}"


def maximum_of_each_half(numbers: Sequence[int]) -> tuple[int, int]:
    """Return the maxima. Single numbers differ: the thread that prepares batches ends with the last batch of an epoch."""
    middle = len(numbers) // 2
    return max(numbers[:middle]), max(numbers[middle:])


def long_run(directory: Path, num_steps: int) -> dict[str, Any]:
    """Return the changes to `config_of` for epochs of STEPS_PER_EPOCH steps, with the callbacks of the package's configs."""
    directory.mkdir()
    config = config_of(directory)
    loader = config["data_loader"]
    num_positions = sum(len(sentence) + 1 for sentence in SENTENCES)
    repeats = STEPS_PER_EPOCH * loader["batch_size"] * loader["num_steps"] // num_positions
    text = write_text(directory / "long.txt", SENTENCES * repeats)
    trainer = {
        **config["trainer"],
        "num_epochs": num_steps // STEPS_PER_EPOCH,
        "patience": None,
        "checkpointer": {"type": "bilm", "save_every_num_batches": 300},
        "callbacks": [
            {"type": "bilm"},
            {"type": "console_logger", "should_log_inputs": False},
            {"type": "tensorboard", "should_log_parameter_statistics": False, "should_log_learning_rate": True},
            {"type": "resource-log", "every": STEPS_BETWEEN_SAMPLES},
        ],
    }
    return {"train_data_path": str(text), "trainer": trainer}


def bytes_per_step(samples: list[Resources]) -> float:
    """Return the slope of the least-squares line through the samples of resident memory."""
    steps = [sample.num_batches for sample in samples]
    return float(np.polyfit(steps, [sample.resident_bytes for sample in samples], 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument(
        "--configs", default=".", help="regular expression: the resume configs to run; empty: no config"
    )
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    server = ForkServer()
    try:
        with tempfile.TemporaryDirectory(prefix="bilm-soak-") as directory:
            root = Path(directory)
            if arguments.kills:
                uninterrupted = Run(server, root / "uninterrupted")
                assert uninterrupted.finish() == 0, uninterrupted.log.read_text()[-3000:]
                soak_signals(server, root, uninterrupted, "SIGKILL", arguments.kills, arguments.seed)
                soak_signals(server, root, uninterrupted, "SIGTERM", arguments.kills // 2, arguments.seed)
                soak_new_processes(server, root)
                soak_full_disks(server, root, uninterrupted, arguments.kills // 2)
            names = [name for name in RESUME_CONFIGS if arguments.configs and re.search(arguments.configs, name)]
            if names:
                soak_configs(server, root, names)
            if arguments.steps:
                soak_steps(server, root, arguments.steps)
    except AssertionError as error:
        sys.exit(f"failed: {error}")
    finally:
        server.close()


if __name__ == "__main__":
    main()
