"""A run broken off anywhere and taken up again is the run it would have been."""

import errno
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from tests.helpers.interrupted_runs import (
    NUM_EPOCHS,
    SAVE_EVERY,
    DoesAt,
    assert_same_as_whole,
    config_of,
    final,
    train,
)
from tests.helpers.small_text import SENTENCES, write_text

WHOLE_RUN_EPOCHS: list[int] = []


def epoch_length(epoch: int) -> int:
    """Batches of an epoch of the whole run; shuffled epochs differ by a few."""
    return WHOLE_RUN_EPOCHS.count(epoch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    directory = tmp_path_factory.mktemp("whole")
    losses = train(directory)
    WHOLE_RUN_EPOCHS[:] = DoesAt.epochs
    return directory, losses


def test_the_whole_run_is_what_the_others_are_measured_by(whole: tuple[Path, list[float]]) -> None:
    directory, losses = whole
    assert len(losses) == sum(map(epoch_length, range(NUM_EPOCHS)))
    assert epoch_length(0) > 2 * SAVE_EVERY + 1 and epoch_length(0) % SAVE_EVERY
    assert len(final(directory)[0]) > 10


# Before any checkpoint, between two, just after one, at the end of an epoch, in the validation that follows, in the next epoch.
@pytest.mark.parametrize("at", [1, 5, SAVE_EVERY + 1, "end of an epoch", "validation", "second epoch", "last batch"])
def test_every_later_batch_and_the_weights_are_the_same(
    at: Any, whole: tuple[Path, list[float]], tmp_path: Path
) -> None:
    reference, losses = whole
    length = epoch_length(0)
    # Every epoch ends with 2 batches of held-out text. The last epoch ends at a checkpoint, and is broken off right after it.
    num_trained = len(losses)
    assert epoch_length(NUM_EPOCHS - 1) % SAVE_EVERY == 0
    places = {"end of an epoch": length, "validation": length + 1, "second epoch": length + 8}
    at = {**places, "last batch": num_trained + 2 * (NUM_EPOCHS - 1) + 1}.get(at, at)
    before = train(tmp_path, at)
    assert before == losses[: len(before)] and before
    after = train(tmp_path, recover=True)
    assert after == losses[len(losses) - len(after) :]
    assert 0 <= len(before) + len(after) - len(losses) <= SAVE_EVERY
    assert_same_as_whole(tmp_path, reference)


def test_broken_off_twice(whole: tuple[Path, list[float]], tmp_path: Path) -> None:
    reference, losses = whole
    train(tmp_path, 8)
    train(tmp_path, 5, recover=True)
    after = train(tmp_path, recover=True)
    assert after == losses[-len(after) :]
    assert_same_as_whole(tmp_path, reference)


def test_the_loader_goes_to_its_place_without_reading_up_to_it(
    whole: tuple[Path, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher

    train(tmp_path, epoch_length(0) + epoch_length(1) - 1)
    made = []
    make = WindowBatcher.__call__
    monkeypatch.setattr(WindowBatcher, "__call__", lambda self, window: made.append(window) or make(self, window))
    after = train(tmp_path, recover=True)
    # The held-out text of two epochs is among them.
    assert len(after) <= len(made) < len(after) + epoch_length(0)


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    whole: tuple[Path, list[float]], tmp_path: Path
) -> None:
    reference, losses = whole
    train(tmp_path, 2 * SAVE_EVERY + 2)
    newest = tmp_path / "out" / f"training_state_e0_b{2 * SAVE_EVERY}.th"
    newest.write_bytes(newest.read_bytes()[:-200])
    after = train(tmp_path, recover=True)
    assert (
        f"checkpoint model_state_e0_b{2 * SAVE_EVERY}.th cannot be read, the one before it is used"
        in (tmp_path / "out" / "out.log").read_text()
    )
    assert len(after) == len(losses) - SAVE_EVERY
    assert_same_as_whole(tmp_path, reference)
    for path in (tmp_path / "out").glob("model_state_*.th"):
        path.write_bytes(b"")
    with pytest.raises(
        ConfigurationError, match=r"no checkpoint in .* can be read, tried model_state_e3_b0.th, model_state"
    ):
        train(tmp_path, recover=True)


def test_a_full_disk_leaves_the_checkpoints_before_it(
    whole: tuple[Path, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, written = torch.save, []

    def fill_up(part: Any, file: Any) -> None:
        save(part, file)
        written.append(file)
        if len(written) == 4:
            file.truncate(100)
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fill_up)
        with pytest.raises(OSError, match="No space left"):
            train(tmp_path)
    assert not list((tmp_path / "out").glob(".*.tmp.th"))
    (tmp_path / "out" / ".model_state_e0_b6.0123.tmp.th").write_bytes(b"left by a process that was killed")
    train(tmp_path, recover=True)
    assert not list((tmp_path / "out").glob(".*.tmp.th"))
    assert_same_as_whole(tmp_path, whole[0])


def test_a_checkpoint_without_the_callbacks_state_is_refused(tmp_path: Path) -> None:
    trainer = config_of(tmp_path)["trainer"]
    train(tmp_path, trainer={**trainer, "callbacks": trainer["callbacks"][1:]})
    with pytest.raises(ConfigurationError, match='^the checkpoint was written without the callback "bilm", so that'):
        train(tmp_path, recover=True)


def test_another_text_or_layout_is_refused(tmp_path: Path) -> None:
    train(tmp_path, 5)
    loader = {**config_of(tmp_path)["data_loader"], "batch_size": 3}
    with pytest.raises(
        ConfigurationError, match=r"of a run with another number of lanes \(`batch_size` times processes\), 4, got 3: "
    ):
        train(tmp_path, recover=True, data_loader=loader)
    for name, value in (("seed", 5), ("shuffle", False)):
        with pytest.raises(ConfigurationError, match=f"of a run with another `{name}`, .*, got {value}: "):
            train(tmp_path, recover=True, data_loader={**config_of(tmp_path)["data_loader"], name: value})
    other = str(write_text(tmp_path / "other.txt", SENTENCES[::-1] * 4))
    with pytest.raises(ConfigurationError, match=r"run with another text \(`train_data_path`\), "):
        train(tmp_path, recover=True, train_data_path=other)


def test_gradients_of_several_batches_together(tmp_path: Path) -> None:
    def trained(directory: Path, at: Optional[int], recover: bool = False) -> list[float]:
        trainer = {**config_of(directory)["trainer"], "num_gradient_accumulation_steps": 2}
        return train(directory, at, recover, trainer=trainer)

    losses = trained(tmp_path / "whole", None)
    trained(tmp_path / "broken", SAVE_EVERY + 1)
    after = trained(tmp_path / "broken", None, recover=True)
    assert after == losses[SAVE_EVERY:]


def test_a_run_over_sentences_is_taken_up_too(tmp_path: Path) -> None:
    loader = {"type": "bilm_sentences", "batch_tokens": 40, "n_negative_samples_batch": 10}
    losses = train(tmp_path / "whole", data_loader=loader)
    assert len(losses) > 3 * NUM_EPOCHS
    train(tmp_path / "broken", SAVE_EVERY + 1, data_loader=loader)
    assert train(tmp_path / "broken", recover=True, data_loader=loader) == losses[SAVE_EVERY:]
    assert_same_as_whole(tmp_path / "broken", tmp_path / "whole")


def test_a_model_or_loader_of_another_kind_is_refused(tmp_path: Path) -> None:
    loader = {"batch_size": 2}
    with pytest.raises(
        ConfigurationError, match='callback "bilm" needs the model and the data loader "bilm", got a BilmModel and'
    ):
        train(tmp_path, data_loader=loader, validation_data_loader=loader)
