"""Moving averages of the weights in runs that are interrupted and recovered."""

from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params

from tests.helpers.distributed_runs import distributed, weights
from tests.helpers.interrupted_runs import (
    assert_same_as_whole,
    break_off,
    short,
    train,
)
from tests.helpers.process_pool import ProcessPool
from tests.helpers.small_text import small_config

AVERAGE = {"type": "exponential", "decay": 0.8}


def test_the_average_becomes_the_best_weights_where_the_process_was_killed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = short(tmp_path / "run", moving_average=AVERAGE)
    whole = train(tmp_path / "whole", **changes)
    with monkeypatch.context() as patch:
        # With an average, the trainer calls it only for the best weights of an epoch, once the checkpoint is there.
        save = "allennlp.training.gradient_descent_trainer.GradientDescentTrainer._save_model_state"
        patch.setattr(save, lambda trainer, path: break_off(trainer))
        before = train(tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "out" / "best.th").exists()
    # Ended once more, so that the best weights can be none but those written at recovery.
    train(tmp_path / "run", 1, recover=True, **changes)
    best = torch.load(tmp_path / "run" / "out" / "best.th", weights_only=True)
    checkpoint = torch.load(tmp_path / "run" / "out" / "training_state_e1_b0.th", weights_only=True)
    shadows = checkpoint["moving_average"]["shadows"]
    assert shadows and all(torch.equal(best[name], value) for name, value in shadows.items())
    assert before + train(tmp_path / "run", recover=True, **changes) == whole
    assert_same_as_whole(tmp_path / "run", tmp_path / "whole", num_epochs=2)


def test_processes_resume_the_average_too(processes: ProcessPool, tmp_path: Path) -> None:
    def config_of(num_processes: int, **recorder: Any) -> dict[str, Any]:
        config = small_config(tmp_path)
        config["data_loader"]["batch_size"] = 4 // num_processes
        config["trainer"] |= {
            "moving_average": AVERAGE,
            "checkpointer": {"type": "bilm", "save_every_num_batches": 2},
            "callbacks": [{"type": "bilm"}, {"type": "records", **recorder}],
        }
        return config

    results = distributed(processes, 2, config_of(2), tmp_path / "whole")
    assert [result["error"] for result in results] == [None, None]
    best = weights(tmp_path / "whole")
    for num_processes in (2, 1):
        out = tmp_path / f"by{num_processes}"
        distributed(processes, 2, config_of(2, at=3), out)
        assert not (out / "best.th").exists()
        config = config_of(num_processes)
        Params(config).to_file(str(out / "config.json"))
        if num_processes == 2:
            results = distributed(processes, 2, config, out, recover=True)
            assert [result["error"] for result in results] == [None, None]
            assert all(torch.equal(weights(out)[name], value) for name, value in best.items())
        else:
            train_model(Params(config), str(out), recover=True)
            # Its negatives and its dropout are others from there on.
            last = torch.load(out / "training_state_e2_b0.th", weights_only=True)["moving_average"]
            assert weights(out).keys() == last["shadows"].keys() and weights(out).keys() == best.keys()
            live = torch.load(out / "model_state_e2_b0.th", weights_only=True)
            assert all(torch.equal(value, live[name]) for name, value in last["parameters"])
