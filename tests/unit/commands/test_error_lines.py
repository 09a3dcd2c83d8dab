"""The error line for mistyped commands, missing or wrong files, and values out of range."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.common import logging as common_logging
from allennlp.common.checks import ConfigurationError
from allennlp.common.tqdm import Tqdm
from allennlp.nn.util import get_token_ids_from_text_field_tensors

from allennlp_elmo_plus.commands.shared.error_lines import error_line, hook_with_error_lines
from allennlp_elmo_plus.errors import InputError
from tests.helpers.command_line import Ended, lines_of
from tests.helpers.runs.fork_server import ForkServer
from tests.helpers.small_text import small_config

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def handlers_of_the_root_logger() -> Iterator[None]:
    """Restore the handlers of the root logger, which a training replaces."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained")
    config = small_config(directory)
    config["trainer"]["num_epochs"] = 1
    train_model(Params(config), str(directory / "out"))
    return directory


def last_line(ended: Ended) -> str:
    """Return the error line of a failing command: the last of at most three lines on the terminal, without a traceback."""
    assert ended.status == 1
    assert "Traceback" not in ended.out + ended.err
    lines = lines_of(ended.err)
    assert [number for number, line in enumerate(lines) if line.startswith("error: ")] == [len(lines) - 1], ended.err
    assert len(lines) + len(lines_of(ended.out)) <= 3, ended
    return lines[-1]


TRAININGS: list[tuple[str, str]] = [
    ('{"train_data_path": "smal.txt"}', r"error: `smal.txt`: there is no such file"),
    ('{"train_data_path": "corpus/*.txt"}', r"error: `corpus/\*.txt`: the pattern matches no file"),
    (
        "{train_data_path: small.txt}",
        r"error: the overrides \(-o\) must be JSON or Jsonnet, got: 1:19-24: Unknown variable",
    ),
    ('{"model.droput": 0.3}', "error: BilmModel has no option `droput`: did you mean `dropout`?"),
    (
        '{"model.lstm.hidden_size": 3}',
        "error: model: unknown option 'lstm.hidden_size', which could change the model's shape",
    ),
    ('{"model.precision": "fp16"}', 'error: `precision` must be "fp32" or "bf16", got "fp16"'),
    (
        '{"num_epochs": 1}',
        "error: the config has no option `num_epochs`: the options are batch_weight_key, .*, trainer, ",
    ),
    (
        '{"trainer.optimizer": {"type": "adam", "max_norm": 5}}',
        "error: AdamOptimizer has no option `max_norm`: the options are",
    ),
    ('{"trainer.epochs": 1}', "error: trainer has no option `epochs`: did you mean `num_epochs`?"),
    ('{"trainer.num_epochs": "ten"}', "error: GradientDescentTrainer: Expected num_epochs to be a int, got 'ten'"),
    ('{"trainer.grad_norm": "five"}', "error: GradientDescentTrainer: .*grad_norm.*, got 'five'"),
    ('{"trainer.optimizer.lr": "0.2"}', "error: BilmOptimizer: Expected lr to be numeric, got '0.2'"),
    ('{"trainer.optimizer.lr": -1}', "error: BilmOptimizer: `lr` must be at least 0 and finite, got -1"),
    ('{"trainer.optimizer": {"type": "adam", "lr": -1}}', "error: AdamOptimizer: Invalid learning rate: -1"),
    ('{"trainer.optimizer": "adamm"}', "error: Optimizer: adamm not in acceptable choices"),
    (
        '{"trainer.callbacks": [{"type": "bilm", "max_skiped_batches": 2}]}',
        "BilmResume has no option `max_skiped_batches`",
    ),
    (
        '{"trainer.validation_metric": "-perplexit"}',
        "error: `validation_metric` must be one of perplexity, .*, got '-perplexit'",
    ),
    (
        '{"model.bidirectional": false, "trainer.validation_metric": "-backward_perplexity"}',
        "error: `validation_metric` must be one of perplexity, loss, tokens_per_second, got '-backward_perplexity'",
    ),
    ('{"trainer.cuda_device": 0}', "error: .*GPU.*trainer.cuda_device"),
    ('{"data_loader.batchsize": 8}', "error: BilmDataLoader has no option `batchsize`: did you mean `batch_size`?"),
    (
        '{"dataset_reader.token_indexers": {"tokens": {"type": "bilm_characters", "max_characters_per_token": 2}}}',
        "at least 3",
    ),
    ('{"distributed": {"cuda_devices": [-1]}}', "error: Multiple cuda devices"),
    (
        '{"distributed": {"cuda_devices": [-1, -1], "num_node": 2}}',
        "error: distributed has no option `num_node`: did you mean `num_nodes`?",
    ),
]


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU that is not there")
@pytest.mark.parametrize("overrides, line", TRAININGS, ids=[overrides for overrides, _ in TRAININGS])
def test_a_mistake_in_a_training(overrides: str, line: str, run: Callable[..., Ended], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(small_config(tmp_path)))
    ended = run("train", config, "-s", tmp_path / "out", "-o", overrides)
    assert re.search(line, last_line(ended)), ended.err


def test_words_of_another_number_of_characters_in_the_first_batch(run: Callable[..., Ended], tmp_path: Path) -> None:
    config = small_config(tmp_path)
    characters = {"type": "bilm_characters", "max_characters_per_token": 40}
    config["dataset_reader"]["token_indexers"] = {"tokens": {"type": "single_id"}, "characters": characters}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ended = run("train", tmp_path / "config.json", "-s", tmp_path / "out")
    assert ended.status == 1 and "Traceback" not in ended.err
    assert lines_of(ended.err)[-1] == (
        "error: `characters` must have shape (U, 50), by the biLM's `max_characters_per_token`, got (19, 40)"
    )


def test_mistakes_in_the_arguments_of_train(run: Callable[..., Ended], tmp_path: Path) -> None:
    config, broken, text = tmp_path / "config.json", tmp_path / "broken.json", tmp_path / "train.txt"
    config.write_text(json.dumps(small_config(tmp_path)))
    broken.write_text("the river rises\n")
    out = tmp_path / "out"
    assert f"file {tmp_path}/nope.json not found; `elmo-plus config`" in last_line(
        run("train", tmp_path / "nope.json", "-s", out)
    )
    assert "config must be JSON or Jsonnet" in last_line(run("train", broken, "-s", out))
    assert last_line(run("train", config, "-s", text)) == f"error: {text}: Not a directory"
    assert "`-s` must be a new or an empty directory" in last_line(run("train", config, "-s", tmp_path))
    assert "There is nothing to recover from" in last_line(run("train", config, "-s", out, "--recover"))
    line = last_line(run("train", config, "-s", out, "--include-package", "nopackage.here"))
    assert line == "error: --include-package must be a package that Python finds, got nopackage.here"


def test_mistakes_in_evaluate_and_predict(run: Callable[..., Ended], trained: Path, tmp_path: Path) -> None:
    archive, text = trained / "out" / "model.tar.gz", trained / "heldout.txt"
    half = tmp_path / "half.tar.gz"
    half.write_bytes(archive.read_bytes()[:3000])
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"sentence": "caf\xe9"}\n')
    unreadable = "must be a model.tar.gz that can be read, got: "
    assert last_line(run("evaluate", text, text)).startswith(f"error: {text}: {unreadable}")
    assert last_line(run("evaluate", half, text)).startswith(f"error: {half}: {unreadable}")
    assert last_line(run("evaluate", tmp_path / "nope", text)) == f"error: file {tmp_path}/nope not found"
    assert last_line(run("evaluate", archive, "nope.txt")) == "error: `nope.txt`: there is no such file"
    line = last_line(run("evaluate", archive, text, "--output-file", tmp_path / "no" / "metrics.json"))
    assert line == f"error: {tmp_path}/no/metrics.json: No such file or directory"
    assert "-o" in last_line(run("evaluate", archive, text, "-o", "{bad"))
    assert "The number of `metrics_output_file`" in last_line(run("evaluate", archive, text, "--output-file", "a,b"))
    line = last_line(run("evaluate", archive, text, "-o", '{"model.lstm.dim": 24}'))
    assert line.startswith(f"error: {archive}: its weights must be those of its config:")
    assert "blm" in last_line(run("predict", archive, text, "--predictor", "blm"))
    assert last_line(run("predict", archive, "nope.jsonl")) == "error: file nope.jsonl not found"
    assert last_line(run("predict", archive, latin)).startswith(
        f"error: {latin}: must be text in UTF-8, got after line 0: "
    )


def test_a_model_that_needs_the_ids_of_words_says_so() -> None:
    with pytest.raises(NotImplementedError) as raised:
        get_token_ids_from_text_field_tensors({"elmo": {"elmo_tokens": torch.zeros(1)}})
    assert "`single_id`" in str(error_line(raised.value))


@pytest.mark.parametrize("variable, value", [("ALLENNLP_DEBUG", "1"), ("ALLENNLP_LOG_LEVEL", "DEBUG")])
def test_debugging_shows_the_traceback(
    variable: str, value: str, run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    for command in (["evaluate", "nope", "nope.txt"], ["elmo-report", "nope"]):
        ended = run(*command)
        assert ended.status == 1 and "Traceback" in ended.err


def test_the_log_file_of_a_training_keeps_the_traceback(run: Callable[..., Ended], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(small_config(tmp_path)))
    run("train", config, "-s", tmp_path / "out", "-o", '{"model.precision": "fp16"}')
    log = (tmp_path / "out" / "out.log").read_text()
    assert "Uncaught exception\nTraceback" in log and 'InputError: `precision` must be "fp32"' in log


@pytest.mark.parametrize("error", [ValueError("`rows` must rise"), TypeError("x"), KeyError("y"), AssertionError("z")])
def test_an_error_of_the_program_keeps_its_traceback(
    error: Exception, run: Callable[..., Ended], trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("allennlp_elmo_plus.modules.language_model.LanguageModel.exact_loss", fail)
    ended = run("evaluate", trained / "out" / "model.tar.gz", trained / "heldout.txt")
    assert ended.status == 1 and "Traceback" in ended.err and type(error).__name__ in ended.err


def test_errors_in_other_programs_are_exceptions(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    config["train_data_path"] = "nope.txt"
    assert "error_lines" not in sys.excepthook.__module__ and not hasattr(
        common_logging.prepare_global_logging, "__wrapped__"
    )
    with pytest.raises(InputError, match="`nope.txt`: there is no such file"):
        train_model(Params(config), str(tmp_path / "out"))


def test_an_error_in_an_option_of_several_types_names_the_option() -> None:
    inner = InputError("`width` must be at least 1, got 0")
    inner.args = ("While constructing an argument of type X", *inner.args)
    error = ConfigurationError("Failed to construct argument filters with type Union[X, Y].")
    error.__cause__ = TypeError("Expected filters to be a string.")
    error.__cause__.__cause__ = inner

    def construct_arg(argument_name: str) -> None:
        raise error

    with pytest.raises(ConfigurationError) as raised:
        construct_arg("filters")
    assert error_line(raised.value) == "`filters`: `width` must be at least 1, got 0"


def test_a_message_of_several_lines_is_one_line(capsys: pytest.CaptureFixture) -> None:
    hook_with_error_lines(sys.__excepthook__)(InputError, InputError("a rule\n   and a value"), None)
    assert capsys.readouterr().err == "error: a rule and a value\n"


def test_an_error_line_begins_after_a_progress_bar(capsys: pytest.CaptureFixture) -> None:
    bar = Tqdm.tqdm(total=3, desc="training")
    bar.update(1)
    hook_with_error_lines(sys.__excepthook__)(InputError, InputError("a rule"), None)
    *progress, line = capsys.readouterr().err.splitlines()
    assert line == "error: a rule" and "training" in progress[-1]


@pytest.mark.parametrize("where", ["model", pytest.param("loader", marks=pytest.mark.slow)])
def test_an_error_in_a_process_of_a_distributed_training(where: str, server: ForkServer, tmp_path: Path) -> None:
    from tests.faults.command_process import run_command

    config = small_config(tmp_path)
    config["distributed"] = {"cuda_devices": [-1, -1]}
    config["trainer"] |= {"checkpointer": {"type": "bilm"}, "callbacks": [{"type": "bilm"}]}
    if where == "model":
        config["model"]["precision"] = "fp16"
    else:
        config["data_loader"]["num_step"] = 5
    path, log = tmp_path / "config.json", tmp_path / "log"
    path.write_text(json.dumps(config))
    process = server.call(run_command, ["train", str(path), "-s", str(tmp_path / "out")], str(log), [])
    assert server.wait(process) == 1
    lines = log.read_text().splitlines()
    expected = '`precision` must be "fp32" or "bf16"' if where == "model" else "BilmDataLoader has no option `num_step`"
    assert lines[-1].startswith("error: ") and expected in lines[-1]
    assert not any(line.startswith("Traceback") for line in lines)
