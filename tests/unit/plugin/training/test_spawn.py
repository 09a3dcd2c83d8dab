"""Errors in the processes of a distributed training, as the process that started them raises them."""

from pathlib import Path
from typing import Any

import pytest
import torch.multiprocessing
from allennlp.common import Params
from torch.multiprocessing import ProcessExitedException

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.training import spawn


@pytest.mark.parametrize(
    "error, first_error, report",
    [
        (InputError("a rule"), None, ("1.input", "a rule")),
        (KeyError("a bug"), None, ("1.failure", "process 1 failed, KeyError: 'a bug'")),
        (RuntimeError("connection closed"), "process 0 failed, a bug", ("1.failure", "process 0 failed, a bug")),
    ],
)
def test_a_process_leaves_one_line_about_its_error(
    error: Exception, first_error: str | None, report: tuple[str, str], tmp_path: Path
) -> None:
    def fail(rank: int, argument: str) -> None:
        assert (rank, argument) == (1, "argument")
        raise error

    if first_error is not None:
        error.first_error = first_error  # type: ignore[attr-defined]
    with pytest.raises(type(error)):
        spawn.run_and_report(1, fail, str(tmp_path), "argument")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [report]


def test_a_process_that_a_signal_has_killed_is_the_first_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def end(function: Any, args: tuple[Any, ...], nprocs: int) -> None:
        Path(args[1], "0.failure").write_text("process 0 failed, RuntimeError: connection closed")
        raise ProcessExitedException(
            "process 1 terminated with signal SIGKILL", error_index=1, error_pid=1, exit_code=-9, signal_name="SIGKILL"
        )

    monkeypatch.setattr(torch.multiprocessing, "spawn", end)
    with pytest.raises(spawn.TrainingProcessError, match=r"signal SIGKILL \(no checkpoint was saved yet\)$"):
        spawn.spawn(print, (Params({}), str(tmp_path)), 2)


@pytest.mark.parametrize(
    "written, raised, message",
    [
        ({"0.input": "a rule", "1.failure": "a bug"}, InputError, "a rule"),
        (
            {"0.failure": "a consequence", "1.failure": "a bug"},
            spawn.TrainingProcessError,
            "a bug (the traceback is in out_worker*.log; no checkpoint was saved yet)",
        ),
        (
            {},
            spawn.TrainingProcessError,
            "process 1 terminated (the traceback is in out_worker*.log; no checkpoint was saved yet)",
        ),
    ],
)
def test_the_first_error_is_raised(
    written: dict[str, str], raised: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def end(function: Any, args: tuple[Any, ...], nprocs: int) -> None:
        for name, line in written.items():
            Path(args[1], name).write_text(line)
        raise ProcessExitedException("process 1 terminated", error_index=1, error_pid=1, exit_code=1)

    monkeypatch.setattr(torch.multiprocessing, "spawn", end)
    with pytest.raises(raised) as error:
        spawn.spawn(print, (Params({}), str(tmp_path)), 2)
    assert str(error.value) == message
    if raised is not InputError:
        (tmp_path / "training_state_e1_b0.th").touch()
        with pytest.raises(raised, match=r"; the same command with --recover continues from the last checkpoint\)$"):
            spawn.spawn(print, (Params({}), str(tmp_path)), 2)


@pytest.mark.parametrize(
    "callbacks, expected", [(["tensorboard", "bilm"], True), (["bilm_plan", {"type": "bilm"}], True), ([{}], False)]
)
def test_a_callback_may_be_given_by_its_name(callbacks: list[Any], expected: bool) -> None:
    assert spawn._has_callback(Params({"trainer": {"callbacks": callbacks}})) == expected
