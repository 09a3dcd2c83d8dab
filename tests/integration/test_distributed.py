"""Training in several processes, through AllenNLP. The oracle is the same training in one, with as many lanes in all."""

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
from tests.helpers.distributed_runs import (
    Records,
    distributed,
    metrics,
    weights,
)
from tests.helpers.process_pool import ProcessPool
from tests.helpers.small_text import SENTENCES, small_config, write_text

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
        "callbacks": [{"type": "bilm"}, {"type": "records"}, {"type": "bilm_plan"}],
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


def test_losses_perplexities_and_weights_are_those_of_one_process(
    processes: ProcessPool, alone: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, expected = alone
    results = run(processes, 2, tmp_path)
    assert_same_training(results, expected)
    # Where lanes have ended, each process reports the loss of the window, not of its own lanes: no step in its curve.
    for end_of_epoch in (len(expected["losses"]) // NUM_EPOCHS - 1, -1):
        first, second = (result["losses"][end_of_epoch] for result in results)
        assert first == second
        assert 0.5 < first / expected["losses"][end_of_epoch - 1] < 2
    for epoch in range(NUM_EPOCHS):
        ours, theirs = metrics(tmp_path / "out", epoch), metrics(out, epoch)
        assert set(theirs) <= set(ours)
        for name in (name for name in theirs if "perplexity" in name or name.endswith("loss")):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6), name
    for name, value in weights(out).items():
        torch.testing.assert_close(weights(tmp_path / "out")[name], value, rtol=1e-5, atol=1e-6)
    # Of the text evaluated after training, by the first process alone.
    log = (tmp_path / "out" / "out_worker0.log").read_text()
    num_tokens = 3 * sum(len(sentence) + 1 for sentence in SENTENCES)
    assert f"{num_tokens} tokens an epoch" in log and " in each process: weights" in log
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
    """Two processes, then one: with shared negatives and no dropout nothing at all may change."""
    _, expected = alone
    before = run(processes, 2, tmp_path, callbacks=[{"type": "bilm"}, {"type": "records", "at": 3}])
    config = config_of(tmp_path, 1)
    Params(config).to_file(str(tmp_path / "out" / "config.json"))
    Records.losses, Records.norms = [], []
    train_model(Params(config).duplicate(), str(tmp_path / "out"), recover=True)
    after = {"losses": Records.losses, "norms": Records.norms, "error": None}
    assert_same_training([after], {name: values[SAVE_EVERY:] for name, values in expected.items()})
    mean = torch.tensor([result["losses"][:SAVE_EVERY] for result in before]).mean(0)
    torch.testing.assert_close(mean, torch.tensor(expected["losses"][:SAVE_EVERY]), rtol=1e-6, atol=0)
    ours, theirs = metrics(tmp_path / "out", 0), metrics(alone[0], 0)
    for name in ("training_loss", "training_sampled_perplexity", "validation_perplexity"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-6), name
    # What that leaves behind in this process holds the directory.
    gc.collect()
    for result in distributed(processes, 2, config, tmp_path / "out", recover=True):
        assert "another number of lanes (`batch_size` times processes), 6, got 12" in result["error"]


def test_a_signal_to_one_process_ends_all_at_the_same_batch(
    processes: ProcessPool, own: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    out, expected = own
    assert [result["error"] for result in expected] == [None, None]
    an_epoch = len(expected[0]["losses"]) // NUM_EPOCHS
    done: list[list[float]] = [[], []]
    # Asked after a batch, all end after the next one: in the middle of an epoch; after its last batch, in the validation.
    for rank, at, place in ((1, 1, "e0_b2"), (0, an_epoch - 2, f"e0_b{an_epoch}"), (0, None, f"e{NUM_EPOCHS}_b0")):
        config = own_numbers(tmp_path)
        config["trainer"]["callbacks"][1] |= {"at": at, "rank": rank, "is_asked": True}
        recover = (tmp_path / "out").exists()
        if recover:
            Params(config).to_file(str(tmp_path / "out" / "config.json"))
        results = distributed(processes, 2, config, tmp_path / "out", recover)
        assert [result["error"] for result in results] == [None if at is None else "SystemExit: 143"] * 2
        assert (tmp_path / "out" / f"model_state_{place}.th").exists()
        for losses, result in zip(done, results):
            losses += result["losses"]
    assert done == [result["losses"] for result in expected]
    for name, value in weights(out).items():
        assert torch.equal(weights(tmp_path / "out")[name], value)


def poisoned(max_skipped: int, rank: int) -> list[dict[str, Any]]:
    """Callbacks: the loss of process `rank` is not finite in the last batch before the second checkpoint."""
    bad = {"type": "poisons", "at": 2 * SAVE_EVERY - 1, "rank": rank}
    return [{"type": "bilm", "max_skipped_batches": max_skipped}, bad, {"type": "records"}]


def test_a_loss_that_is_not_finite_in_one_process_ends_all(processes: ProcessPool, tmp_path: Path) -> None:
    results = run(processes, 2, tmp_path, callbacks=poisoned(0, rank=1))
    place = f"batch {2 * SAVE_EVERY - 1} of epoch 0"
    error = f"FloatingPointError: the loss is inf in {place}: the run ends, and its last checkpoint stands"
    assert [result["error"] for result in results] == [error] * 2
    (saved,) = (tmp_path / "out").glob("model_state_*")
    assert saved.name == f"model_state_e0_b{SAVE_EVERY}.th"


def test_a_batch_that_is_not_finite_in_one_process_is_skipped_by_all(processes: ProcessPool, tmp_path: Path) -> None:
    """As a single process skips it, which is shown to leave no trace by itself."""
    expected = single(tmp_path / "alone", callbacks=poisoned(1, rank=0))
    results = run(processes, 2, tmp_path / "two", callbacks=poisoned(1, rank=1))
    assert_same_training(results, expected)
    assert [result["losses"][2 * SAVE_EVERY - 2] for result in results] == [0.0, 0.0]
    for name, value in weights(tmp_path / "alone" / "out").items():
        torch.testing.assert_close(weights(tmp_path / "two" / "out")[name], value, rtol=1e-5, atol=1e-6)
    ours, theirs = (metrics(tmp_path / each / "out", 0) for each in ("two", "alone"))
    for name in ("training_loss", "training_sampled_perplexity", "validation_perplexity"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-6), name


def test_sentences_are_dealt_out(processes: ProcessPool, tmp_path: Path) -> None:
    """The step of two processes is that of one which adds up the gradients of two batches, or of the one that is left."""
    loader = {"type": "bilm_sentences", "batch_tokens": 33, "n_negative_samples_batch": 10}

    def in_sentences(directory: Path, **changes: Any) -> dict[str, Any]:
        directory.mkdir()
        config = config_of(directory, 2, **changes)
        return config | {
            "data_loader": loader,
            "validation_data_loader": {"type": "bilm_sentences", "batch_tokens": 25},
        }

    Records.losses, Records.norms = [], []
    config = in_sentences(tmp_path / "alone", num_gradient_accumulation_steps=2)
    train_model(Params(config), str(tmp_path / "alone" / "out"))
    expected = {"losses": Records.losses, "norms": Records.norms}
    results = distributed(processes, 2, in_sentences(tmp_path / "two"), tmp_path / "two" / "out")
    assert_same_training(results, expected)
    offsets = np.append(0, np.cumsum([len(sentence) for sentence in SENTENCES * 3]))
    assert SentencePlan(offsets, loader["batch_tokens"], True, 0, 0).num_windows % 2, "one process has a batch less"
    for name, value in weights(tmp_path / "alone" / "out").items():
        torch.testing.assert_close(weights(tmp_path / "two" / "out")[name], value, rtol=1e-5, atol=1e-6)
    ours, theirs = (metrics(tmp_path / each / "out", 1) for each in ("two", "alone"))
    for name in ("training_loss", "training_sampled_perplexity", "validation_perplexity"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-6), name


def test_each_process_has_random_numbers_of_its_own(own: tuple[Path, list[dict[str, Any]]]) -> None:
    _, (first, second) = own
    # AllenNLP's own seed, which it gives all of them.
    assert first["seed"] == 133 != second["seed"]
