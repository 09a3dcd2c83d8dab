"""A training run of processes that come to harm, and what is left of it."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from allennlp.models.archival import extracted_archive

from tests.faults import recorder
from tests.faults.command_process import CANNOT_MOUNT, run_command
from tests.faults.recorder import losses_file, read_losses
from tests.helpers.fork_server import PATIENCE_SECONDS, ForkServer
from tests.helpers.small_text import SENTENCES, small_config, write_text

NUM_EPOCHS = 2


class Run:
    """A run into directory/out, by one process after the other."""

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
        keep: Optional[Path] = None,
        starts_fresh: bool = False,
    ) -> int:
        """The process id of `allennlp train` with `flags`. With `keep`, the output is copied there when it ends."""
        arguments = ["train", str(self.config), "-s", str(self.out), "--include-package", recorder.__name__, *flags]
        return self._server.call(
            run_command, arguments, str(self.log), mounts or [], keep and [str(self.out), str(keep)], starts_fresh
        )

    def wait(self, process: int, seconds: float = PATIENCE_SECONDS) -> int:
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
        """Goes on to the end."""
        assert self.finish("--recover") == 0, self.log.read_text()[-3000:]

    def wait_for_batches(self, number: int) -> None:
        """Until `number` batches have been done, training and validation, by all processes so far, or the training is over."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.num_batches() < number and not (self.out / "model.tar.gz").exists():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.002)

    def num_batches(self) -> int:
        path = losses_file(self.out)
        return path.read_bytes().count(b"\n") if path.exists() else 0


def in_two_processes(server: ForkServer, directory: Path) -> Run:
    """A run of two processes with half of the lanes each."""
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
        "callbacks": [{"type": "bilm"}, {"type": "records-losses"}],
    }
    return config


def assert_same_run(run: Run, whole: Run) -> None:
    """Every loss, whenever it was computed, the final checkpoint and the archive are those of `whole`, bit for bit."""
    expected = dict(read_losses(whole.out))
    done = read_losses(run.out)
    assert {place for place, _ in done} == set(expected)
    assert [pair for pair in done if pair[1] != expected[pair[0]]] == []
    for name in (f"model_state_e{NUM_EPOCHS}_b0.th", f"training_state_e{NUM_EPOCHS}_b0.th", "best.th"):
        ours, theirs = (torch.load(each.out / name, weights_only=True) for each in (run, whole))
        _assert_equal(ours.get("optimizer", ours), theirs.get("optimizer", theirs))
    weights = []
    for each in (run, whole):
        with extracted_archive(each.out / "model.tar.gz") as extracted:
            weights.append(torch.load(Path(extracted) / "weights.th", weights_only=True))
    _assert_equal(*weights)


def _assert_equal(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
