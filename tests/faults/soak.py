"""
`python -m tests.faults.soak [--kills 50] [--configs .] [--steps 20000] [--seed 0]`: the long form of the fault tests, see
`docs/reliability.md`.

Ends runs at random moments, by SIGKILL and by SIGTERM, one of them in fresh processes of a distributed training, and fills their
disk at many points, and compares each with a run that nothing happened to; interrupts and recovers trainings of many configs; then
trains a tiny model for many steps and measures whether memory, open files and threads stay what they were. Prints what it finds;
status 1 where a promise is broken.
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
from tests.helpers.fork_server import PATIENCE_SECONDS, ForkServer
from tests.helpers.resume_configs import RESUME_CONFIGS, resume_in_process
from tests.helpers.small_text import SENTENCES, write_text

SIGNALS_A_RUN = 5
STEPS_AN_EPOCH = 1000
STEPS_BETWEEN_SAMPLES = 100
# Until the allocator has met every size of batch, validations and checkpoints among them.
WARM_UP_STEPS = 4000
MAX_BYTES_A_STEP = 1000
SLOWEST_SECONDS_A_STEP = 0.5
NUMBERS = ("num_files", "num_threads")


def soak_signals(server: ForkServer, directory: Path, whole: Run, name: str, num_signals: int, seed: int) -> None:
    hit = number = 0
    while hit < num_signals:
        run = Run(server, directory / f"{name}{number}")
        hit += kill_at_random(run, min(SIGNALS_A_RUN, num_signals - hit), seed + number, signal.Signals[name])
        assert_same_run(run, whole)
        number += 1
        print(
            f"{name}: {hit} of them in {number} runs, which have every loss and every weight of the whole one",
            flush=True,
        )


def soak_full_disks(server: ForkServer, directory: Path, whole: Run, num_disks: int) -> None:
    everything = sum(path.stat().st_size for path in whole.out.rglob("*") if path.is_file())
    for number in range(num_disks):
        run = Run(server, directory / f"disk{number}")
        train_on_full_disk(run, everything * number // num_disks)
        assert_same_run(run, whole)
    print(
        f"full disk: at {num_disks} points, and each run has every loss and every weight of the whole one", flush=True
    )


def soak_fresh_processes(server: ForkServer, directory: Path) -> None:
    """A training in two processes that AllenNLP starts, rather than in copies of the server."""
    whole, run = (in_two_processes(server, directory / name) for name in ("copies", "fresh"))
    assert whole.finish() == 0, whole.log.read_text()[-3000:]
    process = run.start(starts_fresh=True)
    run.wait_for_batches(5)
    assert run.kill(process, signal.SIGTERM) == 128 + signal.SIGTERM, run.log.read_text()[-3000:]
    assert run.finish("--recover", starts_fresh=True) == 0, run.log.read_text()[-3000:]
    assert_same_run(run, whole)
    print(
        "two fresh processes, ended by SIGTERM and taken up, have every loss and every weight of the whole run",
        flush=True,
    )


def soak_configs(server: ForkServer, directory: Path, names: Sequence[str]) -> None:
    """Interrupt and recover each of the resume configs `names`, each in a process of its own."""
    broken = []
    for number, name in enumerate(names):
        log = directory / f"config{number}.txt"
        process = server.call(resume_in_process, name, str(directory / f"config{number}"), str(log))
        if server.wait(process, PATIENCE_SECONDS):
            broken.append(f"{name}: {log.read_text()[-2000:]}")
    assert not broken, "\n".join(broken)
    print(
        f"{len(names)} configs, each interrupted twice in mid-epoch, have every loss and every weight of a whole run: "
        + ", ".join(names),
        flush=True,
    )


def soak_steps(server: ForkServer, directory: Path, num_steps: int) -> None:
    run = Run(server, directory / "steps", long_run(directory / "steps", num_steps))
    patience = PATIENCE_SECONDS + num_steps * SLOWEST_SECONDS_A_STEP
    assert run.wait(run.start(), patience) == 0, run.log.read_text()[-3000:]
    samples = [sample for sample in read_resources(run.out) if sample.num_batches > WARM_UP_STEPS]
    slope = bytes_a_step(samples)
    files, threads = (most_in_each_half([getattr(sample, name) for sample in samples]) for name in NUMBERS)
    print(
        f"{samples[-1].num_batches} steps: resident memory {samples[-1].resident_bytes / 1e6:.0f} MB, growing "
        f"{slope / 1e3:.3f} MB in 1,000 steps after the first {WARM_UP_STEPS}; at most {files[0]} open files and "
        f"{threads[0]} threads in the first half of these, {files[1]} and {threads[1]} in the second"
    )
    assert slope < MAX_BYTES_A_STEP, f"{slope} bytes a step"
    assert files[1] <= files[0] and threads[1] <= threads[0], f"open files {files}, threads {threads}"


def most_in_each_half(numbers: Sequence[int]) -> tuple[int, int]:
    """Not all of them alike: the thread that makes batches ahead ends with the last of an epoch."""
    middle = len(numbers) // 2
    return max(numbers[:middle]), max(numbers[middle:])


def long_run(directory: Path, num_steps: int) -> dict[str, Any]:
    """What a config of one epoch in STEPS_AN_EPOCH steps changes, with the callbacks of the configs that come with the package."""
    directory.mkdir()
    config = config_of(directory)
    loader = config["data_loader"]
    num_positions = sum(len(sentence) + 1 for sentence in SENTENCES)
    repeats = STEPS_AN_EPOCH * loader["batch_size"] * loader["num_steps"] // num_positions
    text = write_text(directory / "long.txt", SENTENCES * repeats)
    trainer = {
        **config["trainer"],
        "num_epochs": num_steps // STEPS_AN_EPOCH,
        "patience": None,
        "checkpointer": {"type": "bilm", "save_every_num_batches": 300},
        "callbacks": [
            {"type": "bilm"},
            {"type": "console_logger", "should_log_inputs": False},
            {"type": "tensorboard", "should_log_parameter_statistics": False, "should_log_learning_rate": True},
            {"type": "records-resources", "every": STEPS_BETWEEN_SAMPLES},
        ],
    }
    return {"train_data_path": str(text), "trainer": trainer}


def bytes_a_step(samples: list[Resources]) -> float:
    """The slope of the line through the samples that is nearest in the mean square."""
    steps, sizes = (
        np.array([getattr(sample, name) for sample in samples]) for name in ("num_batches", "resident_bytes")
    )
    return float(np.polyfit(steps, sizes, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument(
        "--configs", default=".", help="the resume configs to run: a regular expression; nothing for none"
    )
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    server = ForkServer()
    try:
        with tempfile.TemporaryDirectory(prefix="bilm-soak-") as directory:
            root = Path(directory)
            if arguments.kills:
                whole = Run(server, root / "whole")
                assert whole.finish() == 0, whole.log.read_text()[-3000:]
                soak_signals(server, root, whole, "SIGKILL", arguments.kills, arguments.seed)
                soak_signals(server, root, whole, "SIGTERM", arguments.kills // 2, arguments.seed)
                soak_fresh_processes(server, root)
                soak_full_disks(server, root, whole, arguments.kills // 2)
            names = [name for name in RESUME_CONFIGS if arguments.configs and re.search(arguments.configs, name)]
            if names:
                soak_configs(server, root, names)
            if arguments.steps:
                soak_steps(server, root, arguments.steps)
    except AssertionError as error:
        sys.exit(f"broken: {error}")
    finally:
        server.close()


if __name__ == "__main__":
    main()
