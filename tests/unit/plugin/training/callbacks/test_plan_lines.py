"""The lines about a run; those of a whole training are in `tests/unit/plugin/test_terminal.py`."""

import logging
import math
from types import SimpleNamespace

import pytest

from allennlp_elmo_plus.plugin.training.callbacks.plan_lines import log_epoch, position_line, result_lines


@pytest.mark.parametrize(
    "epochs, steps, line",
    [
        (0, 0, None),
        (0, 1200, "continued: after 0 whole epochs and 1,200 of 1,500 steps of the next"),
        (1, 0, "continued: after 1 whole epoch and 0 of 1,500 steps of the next"),
    ],
)
def test_a_restored_run_logs_its_position(epochs: int, steps: int, line: str | None) -> None:
    trainer = SimpleNamespace(_start_after_epochs_completed=epochs, _start_after_batches_in_epoch_completed=steps)
    assert position_line(trainer, 1500) == line


def test_recover_is_named_only_where_there_are_checkpoints() -> None:
    assert [len(result_lines("out", has_checkpoints)) for has_checkpoints in (True, False)] == [2, 1]
    assert "--recover" in result_lines("out", True)[1]


def test_an_epoch_of_one_direction_without_held_out_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_epoch({"training_perplexity": 1234.5}, 0, 3, 90.0, 10_000)
        log_epoch({"validation_perplexity": 12.34, "best_epoch": 0}, 1, 3, None, 10_000)
    assert caplog.messages == [
        "epoch 1 of 3: perplexity 1,234 in training; about 1 min 30 s left",
        "epoch 2 of 3: held-out perplexity 12.3",
    ]


@pytest.mark.parametrize(
    ("forward", "backward", "warned"), [(134.0, 3.8e8, ["backward"]), (501.0, 499.0, ["forward"]), (9.0, 500.0, [])]
)
def test_a_warning_of_a_direction_that_is_worse_than_an_equal_guess(
    forward: float, backward: float, warned: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    metrics = {
        "validation_perplexity": math.sqrt(forward * backward),
        "validation_forward_perplexity": forward,
        "validation_backward_perplexity": backward,
    }
    log_epoch(metrics, 0, 1, None, 500)
    assert [message.split()[1] for message in caplog.messages if "all 500 words" in message] == warned
