"""Processes with different texts or settings are refused at the start of a distributed training; the first error is one line."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist
from allennlp.common.checks import ConfigurationError
from allennlp.training.checkpointer import Checkpointer

from allennlp_elmo_plus.plugin.training.callbacks.distributed_guard import DistributedGuard
from tests.helpers.runs.process_pool import ProcessPool


def start_error(identities: list[dict[str, Any]], directory: str) -> str:
    """
    Return the error of this process, whose training has `identities`[rank]. If `directory` is not empty, the trainer has AllenNLP's
    own checkpointer.
    """
    trainer = SimpleNamespace(_checkpointer=Checkpointer(directory) if directory else None)
    with pytest.raises(ConfigurationError) as error:
        DistributedGuard().start(trainer, identities[dist.get_rank()])
    return str(error.value)


@pytest.mark.parametrize("name", ["text (`train_data_path`)", "`num_steps`"])
def test_processes_with_another_text_or_setting_are_refused(processes: ProcessPool, name: str) -> None:
    same = {"text (`train_data_path`)": "a", "`num_steps`": 20}
    for error in processes.run(2, start_error, [same, {**same, name: "b"}], ""):
        assert error.startswith("all processes must train on the same text in the same layout")
        assert error.endswith(f"got another {name} in process 1 than in process 0: b and {same[name]}")


def test_another_checkpointer_is_refused(processes: ProcessPool, tmp_path: Path) -> None:
    for error in processes.run(2, start_error, [{}, {}], str(tmp_path)):
        assert 'needs the checkpointer "bilm" in distributed training, got a Checkpointer' in error


def test_the_first_error_is_one_line() -> None:
    class Heartbeat:
        def fail(self, line: str) -> str:
            return line

    guard, error = DistributedGuard(), ValueError("first\n  second")
    guard._heartbeat = Heartbeat()  # type: ignore[assignment]
    guard.end(error)
    assert error.first_error == "process 0 failed, ValueError: first second"  # type: ignore[attr-defined]
