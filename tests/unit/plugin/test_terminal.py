"""What AllenNLP's commands show on the terminal."""

import io
import json
import logging
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch.multiprocessing
from allennlp.common import logging as common_logging
from allennlp.common import tqdm as common_tqdm
from allennlp.common.tqdm import Tqdm
from allennlp.training import util as training_util

from allennlp_elmo_plus.commands.shared.log_lines import TerminalFormatter, TerminalHandler
from allennlp_elmo_plus.plugin.terminal import BatchesWithLength, TerminalFilter, show_log_on_terminal
from tests.helpers.command_line import lines_of, run_command, write_as_a_command
from tests.helpers.small_text import SENTENCES, small_config, write_text

COLUMNS = 80
TIME = re.compile(r"^\d\d:\d\d:\d\d ")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, root_logger: None) -> None:
    """Have this process write to the terminal, of 80 columns, as a command does, until the test ends."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    # `evaluate` switches it off for the rest of the process.
    for name in ("allennlp.common.params", "allennlp.nn.initializers"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
    write_as_a_command(monkeypatch)


def write_config(directory: Path) -> Path:
    config = small_config(directory)
    write_text(directory / "train.txt", SENTENCES * 4)
    config["trainer"] |= {"callbacks": [{"type": "bilm"}, {"type": "bilm_plan", "num_measured_batches": 3}]}
    config["trainer"] |= {"checkpointer": {"type": "bilm"}, "patience": 2}
    (directory / "config.json").write_text(json.dumps(config))
    return directory / "config.json"


@pytest.mark.usefixtures("terminal")
def test_a_training_shows_its_plan_and_bars_and_the_log_file_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    ended = run_command(monkeypatch, capsys, "train", write_config(tmp_path), "-s", out)
    assert ended.status == 0
    lines = [TIME.sub("", line) for line in ended.out.splitlines()]
    texts = [f"{tmp_path / 'train.txt'}, 40 sentences, 348 words", f"{tmp_path / 'heldout.txt'}, 4 sentences, 33 words"]
    starts = [
        *(f"encoded {tmp_path / 'train.txt'}: ", f"encoded {tmp_path / 'heldout.txt'}: "),
        *(f"text: {texts[0]}", f"held-out text: {texts[1]}", "this is little text, "),
        *("model: 12 character filters, 2 LSTM layers of 16 cells projected to 8, both directions", "parameters: "),
        *(
            "plan: 2 epochs of ",
            "memory: about ",
            f"results: {out} ",
            "after an interruption the same command with --recover",
        ),
        *("speed: ", "epoch 1 of 2: sampled perplexity ", "epoch 1 of 2: held-out perplexity "),
        *(
            "epoch 2 of 2: sampled perplexity ",
            "epoch 2 of 2: held-out perplexity ",
            f"archiving weights and vocabulary to {out}",
        ),
    ]
    lines = [line for line in lines if not line.startswith(("the softmax is not", "compiling"))]
    assert len(lines) == len(starts), lines
    assert [line for line, start in zip(lines, starts) if not line.startswith(start)] == []

    bars = lines_of(ended.err)
    assert len(bars) == 4 and all("100%|" in bar and "loss" in bar and "perplexity" in bar for bar in bars)
    assert max(len(part) for part in re.split(r"[\r\n]", ended.err)) <= COLUMNS

    log = (out / "out.log").read_text()
    of_allennlp = ("common.params - trainer.num_epochs = 2", "language_model.softmax.weight", "Beginning training")
    for hidden in (*of_allennlp, "command: allennlp train ", "versions: Python ", "machine: "):
        assert hidden in log and hidden not in ended.out


@pytest.mark.usefixtures("terminal")
def test_a_dry_run_shows_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    ended = run_command(monkeypatch, capsys, "train", write_config(tmp_path), "-s", tmp_path / "out", "--dry-run")
    assert ended.status == 0 and "text: " in ended.out and "plan: 2 epochs of " in ended.out and "%|" not in ended.err


@pytest.mark.usefixtures("terminal")
def test_evaluate_prints_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run_command(monkeypatch, capsys, "train", write_config(tmp_path), "-s", tmp_path / "out")
    archive, metrics = tmp_path / "out" / "model.tar.gz", tmp_path / "metrics.json"
    # As in a new process.
    for handler in logging.getLogger().handlers:
        for each_filter in handler.filters:
            if isinstance(each_filter, TerminalFilter):
                each_filter.hides_trainer = False
    ended = run_command(monkeypatch, capsys, "evaluate", archive, tmp_path / "heldout.txt", "--output-file", metrics)
    rows = [line.split() for line in ended.out.splitlines() if not TIME.match(line)]
    written = json.loads(metrics.read_text())
    assert rows == [[name, f"{value:,.3f}"] for name, value in written.items()] and "perplexity" in written
    assert max(len(part) for part in re.split(r"[\r\n]", ended.err)) <= COLUMNS


@pytest.mark.usefixtures("terminal")
def test_debug_messages_are_shown_where_the_user_asks_for_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("ALLENNLP_LOG_LEVEL", "DEBUG")
    common_logging.prepare_global_logging(str(tmp_path))
    logging.getLogger("allennlp.common.params").debug("shown")
    assert "DEBUG - allennlp.common.params - shown" in capsys.readouterr().out


def test_a_line_has_the_level_from_a_warning_on() -> None:
    def line(level: int) -> str:
        return TIME.sub("", TerminalFormatter().format(logging.LogRecord("a", level, "", 0, "%d words", (3,), None)))

    assert [line(level) for level in (logging.INFO, logging.WARNING)] == ["3 words", "warning: 3 words"]


@pytest.mark.usefixtures("root_logger")
def test_handlers_of_files_and_of_other_programs_stay(tmp_path: Path) -> None:
    class OtherHandler(logging.StreamHandler):
        pass

    root = logging.getLogger()
    root.setLevel(logging.INFO)
    others = [logging.FileHandler(tmp_path / "log"), OtherHandler()]
    root.handlers[:] = [*others, logging.StreamHandler()]
    show_log_on_terminal()
    assert root.handlers[:2] == others and type(root.handlers[2]) is TerminalHandler and len(root.handlers) == 3


def stop_first(rank: int) -> None:
    if rank == 0:
        sys.exit(3)
    time.sleep(60)


@pytest.mark.usefixtures("root_logger")
def test_the_launcher_of_pytorch_does_not_say_which_processes_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger().setLevel(logging.INFO)
    terminal = io.StringIO()
    monkeypatch.setattr(logging.getLogger("torch"), "handlers", [logging.StreamHandler(terminal)])
    launch = partial(torch.multiprocessing.start_processes, stop_first, nprocs=2, start_method="fork")
    with pytest.raises(torch.multiprocessing.ProcessExitedException):
        launch()
    assert terminal.getvalue().startswith("Terminating process")
    terminal.truncate(0)
    show_log_on_terminal()
    with pytest.raises(torch.multiprocessing.ProcessExitedException):
        launch()
    assert terminal.getvalue() == ""
    logging.getLogger("torch.nn").warning("another")
    assert terminal.getvalue().endswith(" warning: another\n")


@pytest.mark.usefixtures("terminal")
def test_a_log_line_does_not_begin_in_a_bar(capsys: pytest.CaptureFixture) -> None:
    handler = TerminalHandler(common_tqdm.sys.stderr)
    bar = Tqdm.tqdm(total=3, desc="training")
    bar.update(1)
    handler.emit(logging.LogRecord("a", logging.INFO, "", 0, "a line", (), None))
    bar.close()
    assert "a line" in lines_of(capsys.readouterr().err)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    "metrics, shown",
    [
        (
            {"sampled_perplexity": 1234.5, "loss": 5.678, "tokens_per_second": 12345.6, "eta_minutes": 766.2, "b": 1.0},
            "| 12345/49380, 12:46:12 left, loss 5.68, perplexity 1,234, 12,346 tokens/s",
        ),
        (
            {"perplexity": 99.96, "loss": 4.6, "tokens_per_second": 9.0},
            ", loss 4.60, perplexity 100.0, 9 tokens/s",
        ),
        ({"accuracy": 0.5, "loss": 0.25}, ", accuracy: 0.5000, loss: 0.2500"),
    ],
)
def test_metrics_follow_the_bar(metrics: dict[str, Any], shown: str, capsys: pytest.CaptureFixture) -> None:
    bar = Tqdm.tqdm(total=49380, initial=12345)
    bar.set_description(training_util.description_from_metrics(metrics))
    bar.close()
    line = lines_of(capsys.readouterr().err)[0]
    assert line.startswith(" 25%|") and line.endswith(shown) and len(line) == COLUMNS


@pytest.mark.usefixtures("terminal")
def test_the_bar_of_an_evaluation_has_a_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run_command(monkeypatch, capsys, "train", write_config(tmp_path), "-s", tmp_path / "out")
    archive, text = tmp_path / "out" / "model.tar.gz", tmp_path / "heldout.txt"
    (bar,) = lines_of(run_command(monkeypatch, capsys, "evaluate", archive, text).err)
    assert bar.startswith("100%|") and "perplexity: " in bar and len(bar) <= COLUMNS


def test_batches_with_length_are_those_of_the_loader() -> None:
    class Loader(list):
        name = "loader"

    batches = BatchesWithLength(Loader("ab"))
    assert len(batches) == 2 and batches.name == "loader" and list(batches) == ["a", "b"]
