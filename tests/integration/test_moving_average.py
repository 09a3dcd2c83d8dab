"""Moving averages of the weights in runs that are interrupted and recovered."""

from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params

from tests.helpers.runs.distributed_runs import read_weights, train_in_processes
from tests.helpers.runs.interrupted_runs import (
    assert_same_as_uninterrupted,
    interrupt,
    short_run,
    train,
)
from tests.helpers.runs.process_pool import ProcessPool
from tests.helpers.small_text import small_config

AVERAGE = {"type": "exponential", "decay": 0.8}


def test_recovery_writes_the_average_as_best_weights_if_the_process_was_killed_before_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = short_run(tmp_path / "run", moving_average=AVERAGE)
    uninterrupted = train(tmp_path / "uninterrupted", **changes)
    with monkeypatch.context() as patch:
        # With a moving average, the trainer calls this method only for the best weights of an epoch, after the checkpoint.
        method = "allennlp.training.gradient_descent_trainer.GradientDescentTrainer._save_model_state"
        patch.setattr(method, lambda trainer, path: interrupt(trainer))
        before = train(tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "out" / "best.th").exists()
    # This start ends after one batch, so that only recovery can have written the best weights.
    train(tmp_path / "run", 1, recover=True, **changes)
    best = torch.load(tmp_path / "run" / "out" / "best.th", weights_only=True)
    checkpoint = torch.load(tmp_path / "run" / "out" / "training_state_e1_b0.th", weights_only=True)
    shadows = checkpoint["moving_average"]["shadows"]
    assert shadows and all(torch.equal(best[name], value) for name, value in shadows.items())
    assert before + train(tmp_path / "run", recover=True, **changes) == uninterrupted
    assert_same_as_uninterrupted(tmp_path / "run", tmp_path / "uninterrupted", num_epochs=2)


@pytest.mark.slow
def test_several_processes_resume_the_average(processes: ProcessPool, tmp_path: Path) -> None:
    def config_of(num_processes: int, **recorder: Any) -> dict[str, Any]:
        config = small_config(tmp_path)
        config["data_loader"]["batch_size"] = 4 // num_processes
        config["trainer"] |= {
            "moving_average": AVERAGE,
            "checkpointer": {"type": "bilm", "save_every_num_batches": 2},
            "callbacks": [{"type": "bilm"}, {"type": "loss-recorder", **recorder}],
        }
        return config

    results = train_in_processes(processes, 2, config_of(2), tmp_path / "uninterrupted")
    assert [result["error"] for result in results] == [None, None]
    best = read_weights(tmp_path / "uninterrupted")
    for num_processes in (2, 1):
        out = tmp_path / f"by{num_processes}"
        train_in_processes(processes, 2, config_of(2, after_batch=3), out)
        assert not (out / "best.th").exists()
        config = config_of(num_processes)
        Params(config).to_file(str(out / "config.json"))
        if num_processes == 2:
            results = train_in_processes(processes, 2, config, out, recover=True)
            assert [result["error"] for result in results] == [None, None]
            assert all(torch.equal(read_weights(out)[name], value) for name, value in best.items())
        else:
            train_model(Params(config), str(out), recover=True)
            # One process draws other negatives and other dropout, so its weights differ.
            last = torch.load(out / "training_state_e2_b0.th", weights_only=True)["moving_average"]
            assert read_weights(out).keys() == last["shadows"].keys() and read_weights(out).keys() == best.keys()
            live = torch.load(out / "model_state_e2_b0.th", weights_only=True)
            assert all(torch.equal(value, live[name]) for name, value in last["parameters"])
