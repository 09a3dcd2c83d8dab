"""When checkpoints are saved, and what is left of those that were not."""

import itertools
import resource
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from allennlp_elmo_plus.core.errors import InputError
from allennlp_elmo_plus.core.run_lock import RunLock
from allennlp_elmo_plus.plugin import checkpointer
from allennlp_elmo_plus.plugin.checkpointer import BilmCheckpointer
from tests.plugin.broken_off_runs import short, train
from tests.plugin.small_text import SENTENCES, write_text


@pytest.mark.parametrize("step", [-86400, 86400])
def test_checkpoints_go_by_the_seconds_that_pass_whatever_the_clock_says(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A second a batch, and one for saving.
    clock = SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr("allennlp_elmo_plus.plugin.checkpointer.time", clock)
    monkeypatch.setattr(time, "time", itertools.count(time.time(), step).__next__)
    saving = {"type": "bilm", "save_every_num_seconds": 5, "keep_most_recent_by_count": None}
    train(tmp_path, **short(tmp_path, num_epochs=1, checkpointer=saving))
    saved = {path.name for path in (tmp_path / "out").glob("model_state*")}
    assert saved == {"model_state_e0_b5.th", "model_state_e0_b10.th", "model_state_e1_b0.th"}


def test_a_full_disk_is_called_that(tmp_path: Path) -> None:
    train(tmp_path, **short(tmp_path, num_epochs=1, checkpointer={"type": "bilm"}))
    (path,) = (tmp_path / "out").glob("model_state_*")
    weights = torch.load(path, weights_only=True)
    before, size = path.read_bytes(), path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for quota in (0, 100, size // 2, size - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (quota, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                checkpointer._write(weights, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == before and not list(path.parent.glob(".*.tmp.*"))


def test_half_a_checkpoint_is_removed(tmp_path: Path) -> None:
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
