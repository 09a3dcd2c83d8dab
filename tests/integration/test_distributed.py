"""Training in several processes, compared with training in one process with the same total number of lanes."""

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params

from allennlp_elmo_plus.data.batching.sentence_plan import SentencePlan
from tests.helpers.bfloat16 import needs_bfloat16
from tests.helpers.runs.distributed_runs import (
    LossRecorder,
    read_metrics,
    read_weights,
    train_in_processes,
)
from tests.helpers.runs.process_pool import ProcessPool
from tests.helpers.small_text import SENTENCES, small_config, write_text

NUM_LANES, NUM_STEPS, NUM_EPOCHS, SAVE_EVERY = 6, 10, 2, 2


def config_of(directory: Path, num_processes: int, **changes: Any) -> dict[str, Any]:
    """Return a config with NUM_LANES lanes in total, no dropout, and the negatives of a single process."""
    config = small_config(directory)
    write_text(directory / "train.txt", SENTENCES * 3)
    config["model"]["dropout"] = 0.0
    lanes = {"batch_size": NUM_LANES // num_processes, "num_steps": NUM_STEPS}
    config["data_loader"] |= {**lanes, "shared_negatives": True}
    # There are more lanes than sentences.
    config["validation_data_loader"]["batch_size"] = 7
    config["test_data_path"], config["evaluate_on_test"] = config["validation_data_path"], True
    config["trainer"] |= {
        "num_epochs": NUM_EPOCHS,
        "checkpointer": {"type": "bilm", "save_every_num_batches": SAVE_EVERY},
        "callbacks": [{"type": "bilm"}, {"type": "loss-recorder"}, {"type": "bilm_plan"}],
    }
    for key, value in changes.items():
        config["trainer" if key in ("callbacks", "num_gradient_accumulation_steps") else "model"][key] = value
    return config


def train_in_one_process(directory: Path, **changes: Any) -> dict[str, Any]:
    directory.mkdir()
    LossRecorder.losses, LossRecorder.norms = [], []
    train_model(Params(config_of(directory, 1, **changes)), str(directory / "out"))
    return {"losses": LossRecorder.losses, "norms": LossRecorder.norms}


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("alone") / "run"
    return directory / "out", train_in_one_process(directory)


def run(processes: ProcessPool, num_processes: int, directory: Path, **changes: Any) -> list[dict[str, Any]]:
    directory.mkdir(exist_ok=True)
    return train_in_processes(
        processes, num_processes, config_of(directory, num_processes, **changes), directory / "out"
    )


def assert_same_training(results: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert [result["error"] for result in results] == [None] * len(results)
    mean = torch.tensor([result["losses"] for result in results]).mean(0)
    torch.testing.assert_close(mean, torch.tensor(expected["losses"]), rtol=1e-6, atol=0)
    for result in results:
        assert result["norms"] == pytest.approx(expected["norms"], rel=1e-5)


def assert_close_weights(out: Path, expected_out: Path) -> None:
    weights = read_weights(out)
    for name, expected in read_weights(expected_out).items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-5, atol=1e-6, msg=name)


def assert_same_weights(out: Path, expected_out: Path) -> None:
    weights = read_weights(out)
    for name, expected in read_weights(expected_out).items():
        assert torch.equal(weights[name], expected), name


def assert_close_metrics(out: Path, expected_out: Path, epoch: int) -> None:
    metrics, expected = read_metrics(out, epoch), read_metrics(expected_out, epoch)
    for name in ("training_loss", "training_sampled_perplexity", "validation_perplexity"):
        assert metrics[name] == pytest.approx(expected[name], rel=1e-6), name


@pytest.mark.slow
def test_losses_perplexities_and_weights_are_those_of_one_process(
    processes: ProcessPool, one_process: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, expected = one_process
    results = run(processes, 2, tmp_path)
    assert_same_training(results, expected)
    # When lanes have ended, each process reports the loss of all lanes of the window, so that its curve has no jump.
    for end_of_epoch in (len(expected["losses"]) // NUM_EPOCHS - 1, -1):
        first, second = (result["losses"][end_of_epoch] for result in results)
        assert first == second
        assert 0.5 < first / expected["losses"][end_of_epoch - 1] < 2
    for epoch in range(NUM_EPOCHS):
        ours, theirs = read_metrics(tmp_path / "out", epoch), read_metrics(out, epoch)
        assert set(theirs) <= set(ours)
        for name in (name for name in theirs if "perplexity" in name or name.endswith("loss")):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6), name
    assert_close_weights(tmp_path / "out", out)
    # Process 0 evaluates the test text after training.
    log = (tmp_path / "out" / "out_worker0.log").read_text()
    num_tokens = 3 * sum(len(sentence) + 1 for sentence in SENTENCES)
    assert f"{num_tokens} tokens an epoch" in log and " in each process, " in log
    ours, theirs = (json.loads((path / "metrics.json").read_text()) for path in (tmp_path / "out", out))
    assert ours["test_perplexity"] == pytest.approx(theirs["test_perplexity"], rel=1e-6)


@pytest.mark.slow
@needs_bfloat16
def test_two_processes_train_in_bf16_with_accumulated_gradients_as_one_process_does(
    processes: ProcessPool, one_process: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    changes = {"precision": "bf16", "num_gradient_accumulation_steps": 2}
    expected = train_in_one_process(tmp_path / "alone", **changes)
    results = run(processes, 2, tmp_path / "two", **changes)
    assert [result["error"] for result in results] == [None, None]
    assert 0 < len(expected["losses"]) == len(results[0]["losses"]) <= len(one_process[1]["losses"]) // 2 + NUM_EPOCHS
    # The rounding of a matrix product in bf16 depends on its number of rows, hence the large tolerance.
    mean = torch.tensor([result["losses"] for result in results]).mean(0)
    torch.testing.assert_close(mean, torch.tensor(expected["losses"]), rtol=5e-3, atol=0)
    in_fp32 = train_in_one_process(tmp_path / "fp32", num_gradient_accumulation_steps=2)
    torch.testing.assert_close(mean, torch.tensor(in_fp32["losses"]), rtol=2e-2, atol=0)
    assert expected["losses"] != in_fp32["losses"]
    assert all(value.dtype == torch.float32 for value in read_weights(tmp_path / "two" / "out").values())


def config_with_own_random_numbers(directory: Path) -> dict[str, Any]:
    """Return a config in which each process draws its own negatives and dropout."""
    config = config_of(directory, 2)
    config["model"]["dropout"] = 0.2
    del config["data_loader"]["shared_negatives"]
    return config


@pytest.fixture(scope="module")
def two_processes(
    processes: ProcessPool, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    directory = tmp_path_factory.mktemp("own")
    return directory / "out", train_in_processes(
        processes, 2, config_with_own_random_numbers(directory), directory / "out"
    )


# Process 1, which writes no files, fails right after a checkpoint; process 0, which writes them, when the next checkpoint is due.
@pytest.mark.slow
@pytest.mark.parametrize("after_batch, failing_rank", [(3, 1), (4, 0)])
def test_a_run_resumed_by_the_same_number_of_processes_is_that_of_an_uninterrupted_run(
    processes: ProcessPool,
    two_processes: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    after_batch: int,
    failing_rank: int,
) -> None:
    out, expected = two_processes
    config = config_with_own_random_numbers(tmp_path)
    config["trainer"]["callbacks"][1] |= {"after_batch": after_batch, "rank": failing_rank}
    interrupted = train_in_processes(processes, 2, config, tmp_path / "out")
    assert interrupted[failing_rank]["error"] == f"PlannedFailure: process {failing_rank} was to fail"
    assert interrupted[1 - failing_rank]["error"] is not None
    # AllenNLP refuses to recover with a changed config; here only the planned failure is removed.
    config = config_with_own_random_numbers(tmp_path)
    Params(config).to_file(str(tmp_path / "out" / "config.json"))
    resumed = train_in_processes(processes, 2, config, tmp_path / "out", recover=True)
    for result, uninterrupted in zip(resumed, expected):
        assert result["error"] is None
        num_saved = (after_batch - 1) // SAVE_EVERY * SAVE_EVERY
        assert result["losses"] == uninterrupted["losses"][num_saved:]
    assert_same_weights(tmp_path / "out", out)
    for epoch in range(NUM_EPOCHS):
        ours, theirs = read_metrics(tmp_path / "out", epoch), read_metrics(out, epoch)
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-12)


@pytest.mark.slow
def test_a_run_of_two_processes_can_be_resumed_by_one_with_the_same_number_of_lanes(
    processes: ProcessPool, one_process: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """With shared negatives and without dropout, the number of processes changes nothing."""
    out, expected = one_process
    before = run(processes, 2, tmp_path, callbacks=[{"type": "bilm"}, {"type": "loss-recorder", "after_batch": 3}])
    config = config_of(tmp_path, 1)
    Params(config).to_file(str(tmp_path / "out" / "config.json"))
    LossRecorder.losses, LossRecorder.norms = [], []
    train_model(Params(config).duplicate(), str(tmp_path / "out"), recover=True)
    after = {"losses": LossRecorder.losses, "norms": LossRecorder.norms, "error": None}
    assert_same_training([after], {name: values[SAVE_EVERY:] for name, values in expected.items()})
    mean = torch.tensor([result["losses"][:SAVE_EVERY] for result in before]).mean(0)
    torch.testing.assert_close(mean, torch.tensor(expected["losses"][:SAVE_EVERY]), rtol=1e-6, atol=0)
    assert_close_metrics(tmp_path / "out", out, epoch=0)
    # The objects of the training above hold the lock of the directory until they are freed.
    gc.collect()
    for result in train_in_processes(processes, 2, config, tmp_path / "out", recover=True):
        assert "another number of lanes (`batch_size` times processes), 6, got 12" in result["error"]


@pytest.mark.slow
def test_a_signal_to_one_process_ends_all_at_the_same_batch(
    processes: ProcessPool, two_processes: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    out, expected = two_processes
    assert [result["error"] for result in expected] == [None, None]
    batches_per_epoch = len(expected[0]["losses"]) // NUM_EPOCHS
    losses: list[list[float]] = [[], []]
    # The signal comes after a batch, and all processes end after the next one: in the middle of an epoch, then after its last batch.
    # The third run is not stopped.
    for rank, after_batch, checkpoint in (
        (1, 1, "e0_b2"),
        (0, batches_per_epoch - 2, f"e0_b{batches_per_epoch}"),
        (0, None, f"e{NUM_EPOCHS}_b0"),
    ):
        config = config_with_own_random_numbers(tmp_path)
        config["trainer"]["callbacks"][1] |= {"after_batch": after_batch, "rank": rank, "sends_sigterm": True}
        recover = (tmp_path / "out").exists()
        if recover:
            Params(config).to_file(str(tmp_path / "out" / "config.json"))
        results = train_in_processes(processes, 2, config, tmp_path / "out", recover)
        assert [result["error"] for result in results] == [None if after_batch is None else "SystemExit: 143"] * 2
        assert (tmp_path / "out" / f"model_state_{checkpoint}.th").exists()
        for losses_of_process, result in zip(losses, results):
            losses_of_process += result["losses"]
    assert losses == [result["losses"] for result in expected]
    assert_same_weights(tmp_path / "out", out)


def nonfinite_callbacks(max_skipped: int, rank: int) -> list[dict[str, Any]]:
    """Return callbacks: the loss of process `rank` is not finite in the last batch before the second checkpoint."""
    nonfinite_batch = {"type": "nonfinite-batch", "batch_number": 2 * SAVE_EVERY - 1, "rank": rank}
    return [{"type": "bilm", "max_skipped_batches": max_skipped}, nonfinite_batch, {"type": "loss-recorder"}]


def test_a_loss_that_is_not_finite_in_one_process_ends_all_processes(processes: ProcessPool, tmp_path: Path) -> None:
    results = run(processes, 2, tmp_path, callbacks=nonfinite_callbacks(0, rank=1))
    batch = f"batch {2 * SAVE_EVERY - 1} of epoch 1"
    error = f"FloatingPointError: the loss is inf in {batch}: the run ends, and its last checkpoint stands"
    assert [result["error"] for result in results] == [error] * 2
    (saved,) = (tmp_path / "out").glob("model_state_*")
    assert saved.name == f"model_state_e0_b{SAVE_EVERY}.th"


def test_a_batch_that_is_not_finite_in_one_process_is_skipped_by_all(processes: ProcessPool, tmp_path: Path) -> None:
    """That a single process trains as if the skipped batch did not exist is tested in test_nonfinite.py."""
    expected = train_in_one_process(tmp_path / "alone", callbacks=nonfinite_callbacks(1, rank=0))
    results = run(processes, 2, tmp_path / "two", callbacks=nonfinite_callbacks(1, rank=1))
    assert_same_training(results, expected)
    assert [result["losses"][2 * SAVE_EVERY - 2] for result in results] == [0.0, 0.0]
    assert_close_weights(tmp_path / "two" / "out", tmp_path / "alone" / "out")
    assert_close_metrics(tmp_path / "two" / "out", tmp_path / "alone" / "out", epoch=0)


@pytest.mark.slow
def test_two_processes_share_the_batches_of_sentences(processes: ProcessPool, tmp_path: Path) -> None:
    """A step of two processes is that of one process with accumulated gradients of two batches. The last step has one batch."""
    loader = {"type": "bilm_sentences", "batch_tokens": 33, "n_negative_samples_batch": 10}

    def config_of_sentences(directory: Path, **changes: Any) -> dict[str, Any]:
        directory.mkdir()
        config = config_of(directory, 2, **changes)
        return config | {
            "data_loader": loader,
            "validation_data_loader": {"type": "bilm_sentences", "batch_tokens": 25},
        }

    LossRecorder.losses, LossRecorder.norms = [], []
    config = config_of_sentences(tmp_path / "alone", num_gradient_accumulation_steps=2)
    train_model(Params(config), str(tmp_path / "alone" / "out"))
    expected = {"losses": LossRecorder.losses, "norms": LossRecorder.norms}
    results = train_in_processes(processes, 2, config_of_sentences(tmp_path / "two"), tmp_path / "two" / "out")
    assert_same_training(results, expected)
    offsets = np.append(0, np.cumsum([len(sentence) for sentence in SENTENCES * 3]))
    assert SentencePlan(offsets, loader["batch_tokens"], True, 0, 0).num_windows % 2, "the last step needs one batch"
    assert_close_weights(tmp_path / "two" / "out", tmp_path / "alone" / "out")
    assert_close_metrics(tmp_path / "two" / "out", tmp_path / "alone" / "out", epoch=1)


@pytest.mark.slow
def test_each_process_has_its_own_seed(two_processes: tuple[Path, list[dict[str, Any]]]) -> None:
    _, (first, second) = two_processes
    # 133 is AllenNLP's seed, which AllenNLP gives to all processes.
    assert first["seed"] == 133 != second["seed"]
