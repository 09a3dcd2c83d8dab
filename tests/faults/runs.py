"""A training run whose processes are killed or fail, and its comparison with an undisturbed run."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any, Optional

import pytest
import torch

from tests.faults import recorder
from tests.faults.command_process import CANNOT_MOUNT, run_command
from tests.faults.recorder import losses_file, read_losses
from tests.helpers.runs.fork_server import TIMEOUT_SECONDS, ForkServer
from tests.helpers.runs.interrupted_runs import archived_weights
from tests.helpers.small_text import SENTENCES, small_config, write_text

NUM_EPOCHS = 2


class Run:
    """A run into `directory`/out. Each `start` is a new process that begins or resumes the run."""

    def __init__(self, server: ForkServer, directory: Path, changes: Optional[dict[str, Any]] = None) -> None:
        self._server = server
        self.directory, self.out = directory, directory / "out"
        self.config, self.log = directory / "config.json", directory / "log.txt"
        directory.mkdir(exist_ok=True)
        self.config.write_text(json.dumps({**config_of(directory), **(changes or {})}), encoding="utf-8")

    def start(
        self,
        *flags: str,
        mounts: Optional[list[dict[str, str]]] = None,
        copy_to: Optional[Path] = None,
        new_processes: bool = False,
    ) -> int:
        """Start `allennlp train` with `flags` and return its process id. When it ends, `out` is copied to `copy_to`."""
        arguments = ["train", str(self.config), "-s", str(self.out), "--include-package", recorder.__name__, *flags]
        copy_at_exit = copy_to and [str(self.out), str(copy_to)]
        return self._server.call(run_command, arguments, str(self.log), mounts or [], copy_at_exit, new_processes)

    def restart_flag(self) -> str:
        """Return `--recover`, or `--force` before the config is written: AllenNLP recovers no directory without it."""
        return "--recover" if (self.out / "config.json").exists() else "--force"

    def wait(self, process: int, seconds: float = TIMEOUT_SECONDS) -> int:
        try:
            status = self._server.wait(process, seconds)
        except AssertionError:
            raise AssertionError(self.log.read_text()[-5000:]) from None
        if status == CANNOT_MOUNT:
            pytest.skip("this system lets no process mount file systems for itself")
        return status

    def finish(self, *flags: str, **options: Any) -> int:
        return self.wait(self.start(*flags, **options))

    def kill(self, process: int, number: int = signal.SIGKILL) -> int:
        os.kill(process, number)
        return self.wait(process)

    def recover(self) -> None:
        """Resume the run and let it finish."""
        assert self.finish("--recover") == 0, self.log.read_text()[-3000:]

    def wait_for_batches(self, number: int) -> None:
        """Wait until all processes together have logged `number` batches, of training or validation, or the run is finished."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.num_batches() < number and not (self.out / "model.tar.gz").exists():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.002)

    def num_batches(self) -> int:
        path = losses_file(self.out)
        return path.read_bytes().count(b"\n") if path.exists() else 0


def in_two_processes(server: ForkServer, directory: Path) -> Run:
    """Return a run of two processes, each with half of the lanes."""
    directory.mkdir()
    loader = config_of(directory)["data_loader"]
    loader["batch_size"] //= 2
    return Run(server, directory, {"data_loader": loader, "distributed": {"cuda_devices": [-1, -1]}})


def config_of(directory: Path) -> dict[str, Any]:
    config = small_config(directory)
    write_text(directory / "train.txt", SENTENCES * 2)
    config["trainer"] |= {
        "num_epochs": NUM_EPOCHS,
        "patience": 2,
        "checkpointer": {"type": "bilm", "save_every_num_batches": 3},
        "callbacks": [{"type": "bilm"}, {"type": "loss-log"}],
    }
    return config


def assert_same_run(run: Run, uninterrupted: Run) -> None:
    """Compare every logged loss, the final checkpoint and the archive with those of `uninterrupted`, bit by bit."""
    expected_losses = dict(read_losses(uninterrupted.out))
    losses = read_losses(run.out)
    assert {batch for batch, _ in losses} == set(expected_losses)
    assert [(batch, loss) for batch, loss in losses if loss != expected_losses[batch]] == []
    for name in (f"model_state_e{NUM_EPOCHS}_b0.th", f"training_state_e{NUM_EPOCHS}_b0.th", "best.th"):
        ours, expected = (torch.load(out / name, weights_only=True) for out in (run.out, uninterrupted.out))
        _assert_equal(ours.get("optimizer", ours), expected.get("optimizer", expected))
    _assert_equal(archived_weights(run.directory), archived_weights(uninterrupted.directory))


def _assert_equal(ours: Any, expected: Any) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)
