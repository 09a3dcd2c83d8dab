"""Losses and gradients that are not finite end a run, or are left out as if their batches had not been."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.modules.language_model import LanguageModel
from tests.helpers.interrupted_runs import (
    SAVE_EVERY,
    assert_same_as_whole,
    config_of,
    final,
    short,
    train,
)

BAD = 5  # Counted from 1, between two checkpoints.


def poison(monkeypatch: pytest.MonkeyPatch, value: float, part: str, method: str = "sampled_loss", *at: int) -> None:
    """Has the batches `at` (BAD) of this process, in training, get `value` for a loss, and for a state; or for a gradient."""
    compute, batches = getattr(LanguageModel, method), []

    def poisoned(self: LanguageModel, *arguments: Any) -> Any:
        result = compute(self, *arguments)
        batches.extend([1] if self.training else [])
        if not self.training or len(batches) not in (at or (BAD,)):
            return result
        name = "forward_nll_sum" if method == "sampled_loss" else "forward_nll"
        nll = getattr(result, name)
        if part == "gradient":
            nll.register_hook(lambda gradient: gradient * value)
            return result
        state = type(result.state)(*(tensor * math.nan for tensor in result.state))
        return result._replace(**{name: nll * value, "state": state})

    monkeypatch.setattr(LanguageModel, method, poisoned)


def options(directory: Path, max_skipped: int, **model: Any) -> dict[str, Any]:
    callbacks = [{"type": "bilm", "max_skipped_batches": max_skipped}, {"type": "does-at"}]
    changes = short(directory, num_epochs=1, callbacks=callbacks)
    # Without dropout, which has a random number a position: a batch that is not done would change those of all others.
    return {**changes, "model": {**config_of(directory)["model"], "dropout": 0.0, **model}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    directory = tmp_path_factory.mktemp("whole")
    return directory, train(directory, **options(directory, 0))


@pytest.mark.parametrize("value, part", [(math.nan, "loss"), (math.inf, "loss"), (math.inf, "gradient")])
def test_the_run_ends_and_names_the_batch(
    value: float, part: str, whole: tuple[Path, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = options(tmp_path, 0)
    what = {"loss": f"loss is {value}", "gradient": "gradient norm is (inf|nan)"}[part]
    with monkeypatch.context() as patch:
        poison(patch, value, part)
        with pytest.raises(
            FloatingPointError,
            match=f"^the {what} in batch {BAD} of epoch 0: the run ends, and its last checkpoint stands$",
        ):
            train(tmp_path, **changes)
    assert [path.name for path in (tmp_path / "out").glob("model_state*")] == [f"model_state_e0_b{SAVE_EVERY}.th"]
    assert train(tmp_path, recover=True, **changes) == whole[1][SAVE_EVERY:]
    assert_same_as_whole(tmp_path, whole[0], num_epochs=1)


@pytest.mark.parametrize("sample_softmax", [True, False])
def test_a_skipped_batch_is_as_one_that_had_not_been(
    sample_softmax: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = options(tmp_path / "run", 1, sample_softmax=sample_softmax)
    if not sample_softmax:
        loader = {key: value for key, value in config_of(tmp_path / "run")["data_loader"].items() if "neg" not in key}
        changes["data_loader"] = loader
    with monkeypatch.context() as patch:
        windows, seen = LaneReader.__iter__, []

        def all_but_one(self: LaneReader) -> Iterator[Any]:
            is_first_epoch = not seen
            seen.append(1)
            return (window for window in windows(self) if not is_first_epoch or window.number != BAD - 1)

        patch.setattr(LaneReader, "__iter__", all_but_one)
        expected = train(tmp_path / "whole", **changes)
    with monkeypatch.context() as patch:
        poison(patch, math.nan, "loss", "sampled_loss" if sample_softmax else "exact_loss")
        losses = train(tmp_path / "run", **changes)
    assert losses.pop(BAD - 1) == 0.0
    assert losses == expected
    assert_same_as_whole(tmp_path / "run", tmp_path / "whole", num_epochs=1)
    assert (
        f"the loss is nan in batch {BAD} of epoch 0: it is skipped, as 1 of 1 may be"
        in (tmp_path / "run" / "out" / "out.log").read_text()
    )


def test_a_skipped_gradient_is_not_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = options(tmp_path / "run", 1)
    weights = []

    def keep(trainer: Any) -> None:
        weights.append({name: value.clone() for name, value in trainer.model.state_dict().items()})

    for at in (BAD - 1, BAD):
        with monkeypatch.context() as patch:
            poison(patch, math.inf, "gradient")
            losses = train(tmp_path / f"run{at}", at, action=keep, **changes)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert math.isfinite(losses[BAD - 1]) and losses[BAD - 1] > 0
    assert all(math.isfinite(value.sum()) for value in final(tmp_path / "run5", 1)[0].values())


def test_skipped_batches_count_over_a_recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = options(tmp_path, 1)
    with monkeypatch.context() as patch:
        poison(patch, math.nan, "loss")
        train(tmp_path, 2 * SAVE_EVERY + 1, **changes)
    with monkeypatch.context() as patch:
        poison(patch, math.nan, "loss", "sampled_loss", 2)
        with pytest.raises(
            FloatingPointError,
            match=f"loss is nan in batch {2 * SAVE_EVERY + 2} of epoch 0 after 1 skipped batch: the run ends",
        ):
            train(tmp_path, recover=True, **changes)


def test_of_gradients_that_are_added_up_the_others_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = options(tmp_path, 1)
    changes["trainer"] |= {"num_gradient_accumulation_steps": 2}
    with monkeypatch.context() as patch:
        poison(patch, math.nan, "loss")
        losses = train(tmp_path, **changes)
    (metrics, _) = final(tmp_path, 1)[1]
    assert metrics["training_loss"] == pytest.approx(sum(losses) / (len(losses) - 0.5))
    assert losses[BAD // 2] == pytest.approx(losses[0] / 2, rel=0.3)


def test_a_negative_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`max_skipped_batches` must be at least 0, got -1"):
        train(tmp_path, **options(tmp_path, -1))
