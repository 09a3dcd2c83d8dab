"""The checkpointer `bilm`: when checkpoints are saved, and which files stay after a failure."""

import itertools
import resource
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from allennlp.common.checks import ConfigurationError

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.training import checkpointer
from allennlp_elmo_plus.plugin.training.checkpointer import BilmCheckpointer
from allennlp_elmo_plus.storage.run_lock import RunLock
from tests.helpers.runs.interrupted_runs import short_run, train
from tests.helpers.small_text import SENTENCES, write_text


@pytest.mark.parametrize("step", [-86400, 86400])
def test_setting_the_clock_does_not_change_when_checkpoints_are_saved(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each batch takes one second, and so does saving.
    clock = SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr("allennlp_elmo_plus.plugin.training.checkpointer.time", clock)
    monkeypatch.setattr(time, "time", itertools.count(time.time(), step).__next__)
    saving = {"type": "bilm", "save_every_num_seconds": 5, "keep_most_recent_by_count": None}
    train(tmp_path, **short_run(tmp_path, num_epochs=1, checkpointer=saving))
    saved = {path.name for path in (tmp_path / "out").glob("model_state*")}
    assert saved == {"model_state_e0_b5.th", "model_state_e0_b10.th", "model_state_e1_b0.th"}


def test_a_checkpoint_beyond_a_quota_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    train(tmp_path, **short_run(tmp_path, num_epochs=1, checkpointer={"type": "bilm"}))
    (path,) = (tmp_path / "out").glob("model_state_*")
    weights = torch.load(path, weights_only=True)
    content, size = path.read_bytes(), path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for quota in (0, 100, size // 2, size - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (quota, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                checkpointer._write(weights, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == content and not list(path.parent.glob(".*.tmp.*"))


def test_a_checkpoint_that_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "training_state_e0_b3.th"
    state = {"epochs_completed": 0, "callbacks": [{}, {"seen": np.zeros(3), "names": ["a", lambda: None]}]}
    with pytest.raises(
        InputError,
        match=r"^the checkpoint is not saved, since it could not be read back: .*, got `callbacks\.1\.seen`, a ndarray, "
        r"`callbacks\.1\.names\.1`, a function$",
    ):
        checkpointer._write(state, path)
    del state["callbacks"][1]["names"]
    with pytest.raises(InputError, match="got `callbacks.1.seen`, a ndarray$"):
        checkpointer._write(state, path)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_loaded_as_numbers_of_python(tmp_path: Path) -> None:
    path = tmp_path / "training_state_e0_b3.th"
    lr = np.float64(0.1) / 3
    checkpointer._write({"optimizer": {"param_groups": [{"lr": lr, "betas": (np.float32(0.9), 1)}]}}, path)
    (group,) = torch.load(path, weights_only=True)["optimizer"]["param_groups"]
    assert group == {"lr": lr, "betas": (float(np.float32(0.9)), 1)} and type(group["lr"]) is float


def test_a_checkpoint_with_numbers_of_numpy_is_loaded(tmp_path: Path) -> None:
    """Earlier versions saved such checkpoints with the learning rate scheduler "cosine"."""
    lr = np.float64(0.1) / 3
    for name in ("model", "training"):
        torch.save({"lr": lr}, tmp_path / f"{name}_state_e0_b3.th")
    checkpoint = BilmCheckpointer(str(tmp_path)).load_checkpoint()
    assert checkpoint is not None and checkpoint.trainer_state == {"lr": lr}


def test_the_training_state_is_written_before_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AllenNLP looks for files of weights, so it finds no checkpoint of a process that was killed between the two files."""
    write, names = checkpointer._write, []

    def write_only_first(part: dict[str, object], path: str) -> None:
        names.append(Path(path).name)
        if len(names) > 1:
            raise OSError("killed")
        write(part, path)

    monkeypatch.setattr(checkpointer, "_write", write_only_first)
    with pytest.raises(OSError, match="killed"):
        train(tmp_path, **short_run(tmp_path, num_epochs=1))
    assert names == ["training_state_e0_b3.th", "model_state_e0_b3.th"]
    assert [path.name for path in (tmp_path / "out").glob("*state*.th")] == names[:1]


def test_the_newest_undamaged_checkpoint_is_loaded(tmp_path: Path) -> None:
    """The order is that of the numbers, not of the names: batch 10 comes after batch 9."""
    numbers = [(9, 40), (9, 9), (10, 0), (10, 10), (10, 9)]
    for epoch, batch in numbers:
        for name in ("model", "training"):
            torch.save({"batch": (epoch, batch)}, tmp_path / f"{name}_state_e{epoch}_b{batch}.th")
    for epoch, batch in sorted(numbers, reverse=True):
        checkpoint = BilmCheckpointer(str(tmp_path)).load_checkpoint()
        assert checkpoint is not None and checkpoint.model_state == checkpoint.trainer_state == {
            "batch": (epoch, batch)
        }
        (tmp_path / f"training_state_e{epoch}_b{batch}.th").write_bytes(b"damaged")


def test_the_oldest_checkpoints_are_removed(tmp_path: Path) -> None:
    saving = {"type": "bilm", "save_every_num_batches": 1, "keep_most_recent_by_count": 3}
    train(tmp_path, 11, **short_run(tmp_path, num_epochs=1, checkpointer=saving))
    names = {path.name for path in (tmp_path / "out").glob("*_state_*.th")}
    assert names == {f"{name}_state_e0_b{number}.th" for name in ("model", "training") for number in (8, 9, 10)}


def test_an_incomplete_checkpoint_is_removed(tmp_path: Path) -> None:
    names = ["training_state_e0_b3.th", "training_state_e0_b6.th", "model_state_e0_b6.th"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigurationError, match="tried model_state_e0_b6.th"):
        BilmCheckpointer(str(tmp_path)).load_checkpoint()
    assert {path.name for path in tmp_path.glob("*.th")} == set(names[1:])


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    with pytest.raises(InputError, match="is in use by process"):
        BilmCheckpointer(str(tmp_path))
    del lock
    BilmCheckpointer(str(tmp_path))


def test_another_held_out_text_is_refused(tmp_path: Path) -> None:
    train(tmp_path, 5)
    other = str(write_text(tmp_path / "other.txt", SENTENCES[:3]))
    with pytest.raises(ConfigurationError, match=r"run with another held-out text \(`validation_data_path`\), "):
        train(tmp_path, recover=True, validation_data_path=other)


def test_one_checkpoint_is_removed_and_found_whatever_the_directory_is_called(tmp_path: Path) -> None:
    directory = tmp_path / "lr[0.2]"
    directory.mkdir()
    keeper = BilmCheckpointer(str(directory))
    for batch in (12, 120, 1212):
        for kind in ("model", "training"):
            (directory / f"{kind}_state_e0_b{batch}.th").touch()
    assert keeper._find_all_checkpoints() == {(0, 12), (0, 120), (0, 1212)}
    keeper._remove_checkpoint(0, 12)
    assert keeper._find_all_checkpoints() == {(0, 120), (0, 1212)}
    assert len(list(directory.glob("*.th"))) == 4
