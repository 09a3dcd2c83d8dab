"""Losses and gradients that are not finite: the run ends, or the batch is skipped."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.modules.language_model import LanguageModel
from tests.helpers.runs.interrupted_runs import (
    SAVE_EVERY,
    assert_same_as_uninterrupted,
    config_of,
    final_weights_and_metrics,
    short_run,
    train,
)

# The number of the batch that is not finite, from 1; it lies between two checkpoints.
BAD_BATCH = 5


def make_nonfinite(
    monkeypatch: pytest.MonkeyPatch, value: float, part: str, method: str = "sampled_loss", bad_batch: int = BAD_BATCH
) -> None:
    """
    Multiply, in training batch `bad_batch` of this process, the loss by `value` and the state by NaN; or, if `part` is "gradient",
    only the gradient of the loss by `value`.
    """
    compute_loss, batch_numbers = getattr(LanguageModel, method), itertools.count(1)

    def nonfinite_loss(self: LanguageModel, *arguments: Any) -> Any:
        result = compute_loss(self, *arguments)
        if not self.training or next(batch_numbers) != bad_batch:
            return result
        name = "forward_nll_sum" if method == "sampled_loss" else "forward_nll"
        nll = getattr(result, name)
        if part == "gradient":
            nll.register_hook(lambda gradient: gradient * value)
            return result
        state = type(result.state)(*(tensor * math.nan for tensor in result.state))
        return result._replace(**{name: nll * value, "state": state})

    monkeypatch.setattr(LanguageModel, method, nonfinite_loss)


def changes_of(directory: Path, max_skipped: int, **model: Any) -> dict[str, Any]:
    callbacks = [{"type": "bilm", "max_skipped_batches": max_skipped}, {"type": "act-after-batch"}]
    changes = short_run(directory, num_epochs=1, callbacks=callbacks)
    # No dropout: it draws a random number per position, so a missing batch would change the numbers of all later batches.
    return {**changes, "model": {**config_of(directory)["model"], "dropout": 0.0, **model}}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    directory = tmp_path_factory.mktemp("uninterrupted")
    return directory, train(directory, **changes_of(directory, 0))


@pytest.mark.parametrize("value, part", [(math.nan, "loss"), (math.inf, "loss"), (math.inf, "gradient")])
def test_the_run_ends_and_names_the_batch(
    value: float, part: str, uninterrupted: tuple[Path, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = changes_of(tmp_path, 0)
    cause = {"loss": f"loss is {value}", "gradient": "gradient norm is (inf|nan)"}[part]
    with monkeypatch.context() as patch:
        make_nonfinite(patch, value, part)
        with pytest.raises(
            FloatingPointError,
            match=f"^the {cause} in batch {BAD_BATCH} of epoch 1: the run ends, and its last checkpoint stands$",
        ):
            train(tmp_path, **changes)
    assert [path.name for path in (tmp_path / "out").glob("model_state*")] == [f"model_state_e0_b{SAVE_EVERY}.th"]
    assert train(tmp_path, recover=True, **changes) == uninterrupted[1][SAVE_EVERY:]
    assert_same_as_uninterrupted(tmp_path, uninterrupted[0], num_epochs=1)


@pytest.mark.parametrize("sample_softmax", [True, False])
def test_a_run_with_a_skipped_batch_is_that_of_a_text_without_the_batch(
    sample_softmax: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = changes_of(tmp_path / "run", 1, sample_softmax=sample_softmax)
    if not sample_softmax:
        loader = {key: value for key, value in config_of(tmp_path / "run")["data_loader"].items() if "neg" not in key}
        changes["data_loader"] = loader
    with monkeypatch.context() as patch:
        all_windows, epoch_numbers = LaneReader.__iter__, itertools.count()

        def all_windows_but_one(self: LaneReader) -> Iterator[Any]:
            is_first_epoch = next(epoch_numbers) == 0
            return (window for window in all_windows(self) if not is_first_epoch or window.number != BAD_BATCH - 1)

        patch.setattr(LaneReader, "__iter__", all_windows_but_one)
        expected = train(tmp_path / "uninterrupted", **changes)
    with monkeypatch.context() as patch:
        make_nonfinite(patch, math.nan, "loss", "sampled_loss" if sample_softmax else "exact_loss")
        losses = train(tmp_path / "run", **changes)
    assert losses.pop(BAD_BATCH - 1) == 0.0
    assert losses == expected
    assert_same_as_uninterrupted(tmp_path / "run", tmp_path / "uninterrupted", num_epochs=1)
    assert (
        f"the loss is nan in batch {BAD_BATCH} of epoch 1: it is skipped, as 1 of 1 may be"
        in (tmp_path / "run" / "out" / "out.log").read_text()
    )


@pytest.mark.parametrize("clip", [{"grad_norm": True}, {"grad_norm": 1.0}, {"grad_clipping": 1.0}], ids=str)
def test_a_batch_is_skipped_with_a_clip_of_the_trainer(
    clip: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = changes_of(tmp_path, 1)
    changes["trainer"] |= clip
    make_nonfinite(monkeypatch, math.inf, "loss")
    losses = train(tmp_path, **changes)
    assert [number for number, loss in enumerate(losses, 1) if loss == 0] == [BAD_BATCH]


def test_a_skipped_window_of_a_shorter_last_step_is_left_out_of_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = changes_of(tmp_path, 1)
    # 11 windows: two steps over five, and one over the last.
    changes["trainer"] |= {"num_gradient_accumulation_steps": 5}
    make_nonfinite(monkeypatch, math.inf, "loss", bad_batch=11)
    losses = train(tmp_path, **changes)
    (metrics, _) = final_weights_and_metrics(tmp_path, 1)[1]
    assert len(losses) == 3 and metrics["training_loss"] == pytest.approx(sum(losses) / 2)


def test_a_skipped_gradient_is_not_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = changes_of(tmp_path / "run", 1)
    weights = []

    def copy_weights(trainer: Any) -> None:
        weights.append({name: value.clone() for name, value in trainer.model.state_dict().items()})

    for after_batch in (BAD_BATCH - 1, BAD_BATCH):
        with monkeypatch.context() as patch:
            make_nonfinite(patch, math.inf, "gradient")
            losses = train(tmp_path / f"run{after_batch}", after_batch, action=copy_weights, **changes)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert math.isfinite(losses[BAD_BATCH - 1]) and losses[BAD_BATCH - 1] > 0
    final_weights, _ = final_weights_and_metrics(tmp_path / f"run{BAD_BATCH}", 1)
    assert all(value.isfinite().all() for value in final_weights.values())


def test_batches_skipped_before_a_recovery_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = changes_of(tmp_path, 1)
    with monkeypatch.context() as patch:
        make_nonfinite(patch, math.nan, "loss")
        train(tmp_path, 2 * SAVE_EVERY + 1, **changes)
    with monkeypatch.context() as patch:
        make_nonfinite(patch, math.nan, "loss", bad_batch=2)
        with pytest.raises(
            FloatingPointError,
            match=f"loss is nan in batch {2 * SAVE_EVERY + 2} of epoch 1 after 1 skipped batch: the run ends",
        ):
            train(tmp_path, recover=True, **changes)


def test_a_skipped_batch_leaves_the_other_accumulated_gradients_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = changes_of(tmp_path, 1)
    changes["trainer"] |= {"num_gradient_accumulation_steps": 2}
    with monkeypatch.context() as patch:
        make_nonfinite(patch, math.nan, "loss")
        losses = train(tmp_path, **changes)
    (metrics, _) = final_weights_and_metrics(tmp_path, 1)[1]
    assert metrics["training_loss"] == pytest.approx(sum(losses) / (len(losses) - 0.5))
    assert losses[BAD_BATCH // 2] == pytest.approx(losses[0] / 2, rel=0.3)


def test_a_negative_max_skipped_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`max_skipped_batches` must be at least 0, got -1"):
        train(tmp_path, **changes_of(tmp_path, -1))
