"""Training in several processes, through AllenNLP. The oracle is the same training in one, with as many lanes in all."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params

from tests.plugin.distributed_runs import Records, distributed, metrics, weights
from tests.plugin.small_text import SENTENCES, small_config, write_text
from tests.process_pool import ProcessPool

NUM_LANES, NUM_STEPS, NUM_EPOCHS, SAVE_EVERY = 6, 10, 2, 2


def config_of(directory: Path, num_processes: int, **changes: Any) -> dict[str, Any]:
    """Of NUM_LANES lanes in all; without dropout, and with the negatives of a single process."""
    config = small_config(directory)
    write_text(directory / "train.txt", SENTENCES * 3)
    config["model"]["dropout"] = 0.0
    lanes = {"batch_size": NUM_LANES // num_processes, "num_steps": NUM_STEPS}
    config["data_loader"] |= {**lanes, "shared_negatives": True}
    # More lanes than sentences.
    config["validation_data_loader"]["batch_size"] = 7
    config["test_data_path"], config["evaluate_on_test"] = config["validation_data_path"], True
    config["trainer"] |= {
        "num_epochs": NUM_EPOCHS,
        "checkpointer": {"type": "bilm", "save_every_num_batches": SAVE_EVERY},
        "callbacks": [{"type": "bilm"}, {"type": "records"}],
    }
    for key, value in changes.items():
        config["trainer" if key in ("callbacks", "num_gradient_accumulation_steps") else "model"][key] = value
    return config


def single(directory: Path, **changes: Any) -> dict[str, Any]:
    directory.mkdir()
    Records.losses, Records.norms = [], []
    train_model(Params(config_of(directory, 1, **changes)), str(directory / "out"))
    return {"losses": Records.losses, "norms": Records.norms}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("alone") / "run"
    return directory / "out", single(directory)


def run(processes: ProcessPool, num_processes: int, directory: Path, **changes: Any) -> list[dict[str, Any]]:
    directory.mkdir(exist_ok=True)
    return distributed(processes, num_processes, config_of(directory, num_processes, **changes), directory / "out")


def assert_same_training(results: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert [result["error"] for result in results] == [None] * len(results)
    mean = torch.tensor([result["losses"] for result in results]).mean(0)
    torch.testing.assert_close(mean, torch.tensor(expected["losses"]), rtol=1e-6, atol=0)
    for result in results:
        assert result["norms"] == pytest.approx(expected["norms"], rel=1e-5)


@pytest.mark.parametrize("num_processes", [2, 3])
def test_losses_perplexities_and_weights_are_those_of_one_process(
    processes: ProcessPool, alone: tuple[Path, dict[str, Any]], tmp_path: Path, num_processes: int
) -> None:
    out, expected = alone
    assert_same_training(run(processes, num_processes, tmp_path), expected)
    for epoch in range(NUM_EPOCHS):
        ours, theirs = metrics(tmp_path / "out", epoch), metrics(out, epoch)
        assert set(theirs) <= set(ours)
        for name in (name for name in theirs if "perplexity" in name or name.endswith("loss")):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6), name
    for name, value in weights(out).items():
        torch.testing.assert_close(weights(tmp_path / "out")[name], value, rtol=1e-5, atol=1e-6)
    # Of the text evaluated after training, by the first process alone.
    ours, theirs = (json.loads((path / "metrics.json").read_text()) for path in (tmp_path / "out", out))
    assert ours["test_perplexity"] == pytest.approx(theirs["test_perplexity"], rel=1e-6)


def test_bf16_and_gradients_of_several_windows_at_once(
    processes: ProcessPool, alone: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Each by itself is compared with float32 and with a large batch in other tests."""
    both = {"precision": "bf16", "num_gradient_accumulation_steps": 2}
    expected = single(tmp_path / "alone", **both)
    results = run(processes, 2, tmp_path / "two", **both)
    assert [result["error"] for result in results] == [None, None]
    assert 0 < len(expected["losses"]) == len(results[0]["losses"]) <= len(alone[1]["losses"]) // 2 + NUM_EPOCHS
    # Rounding depends on the rows that a product has.
    mean = torch.tensor([result["losses"] for result in results]).mean(0)
    torch.testing.assert_close(mean, torch.tensor(expected["losses"]), rtol=5e-3, atol=0)
    in_fp32 = single(tmp_path / "fp32", num_gradient_accumulation_steps=2)
    torch.testing.assert_close(mean, torch.tensor(in_fp32["losses"]), rtol=2e-2, atol=0)
    assert expected["losses"] != in_fp32["losses"]
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "two" / "out").values())


def own_numbers(directory: Path) -> dict[str, Any]:
    """A config in which processes draw negatives and dropout of their own."""
    config = config_of(directory, 2)
    config["model"]["dropout"] = 0.2
    del config["data_loader"]["shared_negatives"]
    return config


@pytest.fixture(scope="module")
def own(processes: ProcessPool, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    directory = tmp_path_factory.mktemp("own")
    return directory / "out", distributed(processes, 2, own_numbers(directory), directory / "out")


# Right after a checkpoint, in the process that does not write; where the next was due, in the one that does.
@pytest.mark.parametrize("at, failing", [(3, 1), (4, 0)])
def test_resumed_by_as_many_processes_it_is_the_same_run(
    processes: ProcessPool, own: tuple[Path, list[dict[str, Any]]], tmp_path: Path, at: int, failing: int
) -> None:
    out, expected = own
    config = own_numbers(tmp_path)
    config["trainer"]["callbacks"][1] |= {"at": at, "rank": failing}
    broken = distributed(processes, 2, config, tmp_path / "out")
    assert broken[failing]["error"] == f"BrokenOff: process {failing} was to fail"
    assert broken[1 - failing]["error"] is not None
    # When to break off is no part of the run; AllenNLP compares configs.
    config = own_numbers(tmp_path)
    Params(config).to_file(str(tmp_path / "out" / "config.json"))
    resumed = distributed(processes, 2, config, tmp_path / "out", recover=True)
    for result, whole in zip(resumed, expected):
        assert result["error"] is None
        saved = (at - 1) // SAVE_EVERY * SAVE_EVERY
        assert result["losses"] == whole["losses"][saved:]
    for name, value in weights(out).items():
        assert torch.equal(weights(tmp_path / "out")[name], value)
    for epoch in range(NUM_EPOCHS):
        ours, theirs = metrics(tmp_path / "out", epoch), metrics(out, epoch)
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-12)


def test_resumed_by_another_number_of_processes(
    processes: ProcessPool, alone: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Three processes, then two: with shared negatives and no dropout nothing at all may change."""
    _, expected = alone
    before = run(processes, 3, tmp_path, callbacks=[{"type": "bilm"}, {"type": "records", "at": 3}])
    config = config_of(tmp_path, 2)
    Params(config).to_file(str(tmp_path / "out" / "config.json"))
    after = distributed(processes, 2, config, tmp_path / "out", recover=True)
    assert_same_training(after, {name: values[SAVE_EVERY:] for name, values in expected.items()})
    mean = torch.tensor([result["losses"][:SAVE_EVERY] for result in before]).mean(0)
    torch.testing.assert_close(mean, torch.tensor(expected["losses"][:SAVE_EVERY]), rtol=1e-6, atol=0)
    ours, theirs = metrics(tmp_path / "out", 0), metrics(alone[0], 0)
    for name in ("training_loss", "training_sampled_perplexity", "validation_perplexity"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-6), name
    for result in distributed(processes, 3, config, tmp_path / "out", recover=True):
        assert "another number of lanes (`batch_size` times processes), 6, got 9" in result["error"]


def test_each_process_has_random_numbers_of_its_own(own: tuple[Path, list[dict[str, Any]]]) -> None:
    _, (first, second) = own
    # AllenNLP's own seed, which it gives all of them.
    assert first["seed"] == 133 != second["seed"]


@pytest.mark.parametrize(
    "part, component, message",
    [
        ("optimizer", {"type": "adagrad"}, 'distributed training of the model "bilm" needs the optimizer "bilm"'),
        ("checkpointer", {}, 'the callback "bilm" needs the checkpointer "bilm" in distributed training'),
    ],
)
def test_what_cannot_work_together_is_refused(
    processes: ProcessPool, tmp_path: Path, part: str, component: dict[str, Any], message: str
) -> None:
    config = config_of(tmp_path, 2)
    config["trainer"][part] = component
    for result in distributed(processes, 2, config, tmp_path / "out"):
        assert message in result["error"]
