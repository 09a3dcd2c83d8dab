"""What processes refuse when they meet."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist
from allennlp.common.checks import ConfigurationError
from allennlp.training.checkpointer import Checkpointer

from allennlp_elmo_plus.plugin.training.callbacks.distributed_guard import DistributedGuard
from tests.helpers.process_pool import ProcessPool


def meet(identities: list[dict[str, Any]], directory: str) -> str:
    """The error of a process that trains on `identities`[rank], with AllenNLP's own checkpointer where there is a `directory`."""
    trainer = SimpleNamespace(_checkpointer=Checkpointer(directory) if directory else None)
    with pytest.raises(ConfigurationError) as refused:
        DistributedGuard().start(trainer, identities[dist.get_rank()])
    return str(refused.value)


@pytest.mark.parametrize("name", ["text (`train_data_path`)", "`num_steps`"])
def test_processes_that_train_on_something_else_are_refused(processes: ProcessPool, name: str) -> None:
    same = {"text (`train_data_path`)": "a", "`num_steps`": 20}
    for error in processes.run(2, meet, [same, {**same, name: "b"}], ""):
        assert error.startswith("all processes must train on the same text in the same layout")
        assert error.endswith(f"got another {name} in process 1 than in process 0: b and {same[name]}")


def test_another_checkpointer_is_refused(processes: ProcessPool, tmp_path: Path) -> None:
    for error in processes.run(2, meet, [{}, {}], str(tmp_path)):
        assert 'needs the checkpointer "bilm" in distributed training, got a Checkpointer' in error
