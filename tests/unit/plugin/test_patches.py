"""Each patch of AllenNLP: the error occurs without the patch and does not occur with it."""

import inspect
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.multiprocessing
from allennlp.commands import predict, train
from allennlp.commands.train import TrainModel, train_model
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.training import GradientDescentTrainer
from allennlp.training.learning_rate_schedulers import LearningRateScheduler
from allennlp.training.optimizers import Optimizer
from torch.multiprocessing import ProcessRaisedException, start_processes

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin import patches
from allennlp_elmo_plus.plugin.data.vocabulary import PADDING_TOKEN, BilmVocabulary
from allennlp_elmo_plus.plugin.predictors.bilm_predictor import BilmPredictor
from tests.helpers.command_line import run_command_to_its_end
from tests.helpers.small_text import small_config

WithoutPatch = Callable[[Any, str], None]


@pytest.fixture
def without_patch(monkeypatch: pytest.MonkeyPatch) -> WithoutPatch:
    """Return a function that restores AllenNLP's own function in place of a patched one, until the test ends."""

    def restore(owner: Any, name: str) -> None:
        patched = inspect.getattr_static(owner, name)
        if isinstance(patched, classmethod):
            monkeypatch.setattr(owner, name, classmethod(patched.__func__.__wrapped__))
        else:
            monkeypatch.setattr(owner, name, patched.__wrapped__)

    return restore


def test_another_release_of_allennlp_is_not_patched(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patches, "VERSION", "2.11.0")
    monkeypatch.setattr(patches, "_replace", lambda *arguments: pytest.fail("a change was made"))
    before = train.mp
    patches.apply()
    assert train.mp is before
    assert caplog.messages == ["AllenNLP must be 2.10 for the changes of `plugin.patches`, got 2.11.0: none is made"]


def test_the_trainers_grad_norm_accepts_sparse_gradients(tmp_path: Path, without_patch: WithoutPatch) -> None:
    config = small_config(tmp_path)
    config["trainer"] |= {"num_epochs": 1, "grad_norm": 1.0}
    train_model(Params(json.loads(json.dumps(config))), str(tmp_path / "with"))
    without_patch(GradientDescentTrainer, "__init__")
    with pytest.raises((RuntimeError, NotImplementedError), match="[Ss]parse"):
        train_model(Params(config), str(tmp_path / "without"))


def test_an_unknown_option_of_the_trainer_is_refused(tmp_path: Path, without_patch: WithoutPatch) -> None:
    def num_epochs_of(epochs: int, directory: Path) -> int:
        config = small_config(tmp_path)
        del config["trainer"]["num_epochs"]
        config["trainer"]["epochs"] = epochs
        return TrainModel.from_params(
            Params(config), serialization_dir=str(directory), local_rank=0
        ).trainer._num_epochs

    with pytest.raises(ConfigurationError, match="trainer has no option `epochs`: did you mean `num_epochs`?"):
        num_epochs_of(1, tmp_path / "with")
    without_patch(GradientDescentTrainer, "from_partial_objects")
    assert num_epochs_of(1, tmp_path / "without") == 20


def test_the_plateau_scheduler_can_be_constructed(without_patch: WithoutPatch) -> None:
    parameters = [("weight", torch.nn.Parameter(torch.zeros(1)))]
    optimizer = Optimizer.from_params(Params({"type": "sgd", "lr": 0.1}), model_parameters=parameters)
    options = {"type": "reduce_on_plateau", "mode": "max", "patience": 3, "threshold": 0.25, "threshold_mode": "abs"}
    scheduler = LearningRateScheduler.from_params(Params({**options, "verbose": True}), optimizer=optimizer)
    state = scheduler.lr_scheduler.state_dict()
    assert [state[name] for name in ("mode", "patience", "threshold", "threshold_mode")] == ["max", 3, 0.25, "abs"]
    # AllenNLP's order: mode, factor, patience, verbose, threshold_mode, threshold.
    by_position = type(scheduler)(optimizer, "max", 0.1, 3, True, "abs", 0.25)
    assert by_position.lr_scheduler.state_dict() == state
    without_patch(type(scheduler), "__init__")
    with pytest.raises(TypeError, match="verbose"):
        LearningRateScheduler.from_params(Params(options), optimizer=optimizer)


def test_new_best_weights_do_not_change_the_checkpoint_that_the_former_ones_are_linked_to(
    tmp_path: Path, without_patch: WithoutPatch
) -> None:
    trainer: Any = SimpleNamespace(_ddp_wrapped_model=None, model=torch.nn.Linear(1, 1))

    def save_better_weights() -> bool:
        checkpoint, best = tmp_path / "model_state_e1_b0.th", tmp_path / "best.th"
        checkpoint.write_bytes(b"those of epoch 1")
        best.unlink(missing_ok=True)
        os.link(checkpoint, best)
        GradientDescentTrainer._save_model_state(trainer, str(best))
        assert torch.load(best).keys() == {"weight", "bias"}
        return checkpoint.read_bytes() == b"those of epoch 1"

    assert save_better_weights()
    without_patch(GradientDescentTrainer, "_save_model_state")
    assert not save_better_weights()


def test_a_config_is_written_atomically(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_patch: WithoutPatch
) -> None:
    path = tmp_path / "config.json"
    Params({"a": 1}).to_file(str(path))

    def write_half(config: Any, file: Any, **options: Any) -> None:
        file.write("{")
        raise OSError(28, "No space left on device")

    def rewrite() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(json, "dump", write_half)
            with pytest.raises(OSError, match="No space left"):
                Params({"a": 2}).to_file(str(path))

    rewrite()
    assert Params.from_file(path).as_dict() == {"a": 1}
    Params({"b": 2, "a": 1}).to_file(str(path), [["a", "b"]])
    assert path.read_text() == json.dumps({"a": 1, "b": 2}, indent=4)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
    without_patch(Params, "to_file")
    rewrite()
    assert path.read_text() == "{"


@pytest.mark.parametrize("text, symptom", [("a b a", AssertionError), ("@@UNKNOWN@@ @@NEWLINE@@", None)])
def test_files_of_a_bilm_vocabulary_are_loaded_as_a_bilm_vocabulary(
    text: str, symptom: Any, tmp_path: Path, without_patch: WithoutPatch
) -> None:
    vocabulary = BilmVocabulary(padding_token=PADDING_TOKEN, oov_token="<UNK>")
    vocabulary._set_words(["<S>", "</S>", "<UNK>", *sorted(set(text.split()))])
    vocabulary.save_to_files(tmp_path / "vocabulary")
    directory = str(tmp_path / "vocabulary")
    ids = vocabulary.get_token_to_index_vocabulary("tokens")
    config = {"type": "from_files", "directory": directory, "padding_token": PADDING_TOKEN, "oov_token": "<UNK>"}
    for loaded in (Vocabulary.from_files(directory), Vocabulary.from_params(Params(dict(config)))):
        assert type(loaded) is BilmVocabulary and loaded.get_token_to_index_vocabulary("tokens") == ids
    without_patch(Vocabulary, "from_files")
    if symptom is not None:
        with pytest.raises(symptom):
            Vocabulary.from_files(directory)
    else:
        assert Vocabulary.from_params(Params(config)).get_token_to_index_vocabulary("tokens") != ids


def test_predict_answers_blank_lines(tmp_path: Path, without_patch: WithoutPatch) -> None:
    lines = tmp_path / "lines.txt"
    manager = predict._PredictManager.__new__(predict._PredictManager)
    manager._input_file, manager._predictor = str(lines), BilmPredictor.__new__(BilmPredictor)
    sentences = ["the river\n", " \n", "rises\n"]
    # The second file begins with a byte order mark.
    for encoding in ("utf-8", "utf-8-sig"):
        lines.write_text("".join(sentences), encoding)
        assert [request["sentence"] for request in manager._get_json_data()] == sentences
    lines.write_text("".join(sentences), "utf-8")
    without_patch(predict._PredictManager, "_get_json_data")
    assert [request["sentence"] for request in manager._get_json_data()] == [sentences[0], sentences[2]]


def refuse(rank: int, config: Params, serialization_dir: str) -> None:
    raise InputError("`batch_size` must be at least 1, got 0")


def test_an_input_error_of_a_process_is_raised_in_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork_processes(*args: Any, start_method: str, **options: Any) -> Any:
        return start_processes(*args, start_method="fork", **options)

    # A fork starts fast; a new process would import everything again.
    monkeypatch.setattr(sys.modules["torch.multiprocessing.spawn"], "start_processes", fork_processes)
    with pytest.raises(InputError, match="^`batch_size` must be at least 1, got 0$"):
        train.mp.spawn(refuse, args=(Params({}), ""), nprocs=1)
    monkeypatch.setattr(train, "mp", torch.multiprocessing)
    with pytest.raises(ProcessRaisedException, match="Traceback"):
        train.mp.spawn(refuse, args=(Params({}), ""), nprocs=1)


@pytest.mark.parametrize(
    "program, is_command",
    [
        ("/usr/bin/allennlp", True),
        ("/usr/bin/elmo-plus", True),
        ("/packages/allennlp_elmo_plus/__main__.py", True),
        ("/packages/allennlp/__main__.py", True),
        ("/packages/pytest/__main__.py", False),
        ("allennlp_script.py", False),
        ("-c", False),
    ],
)
def test_both_programs_are_commands(program: str, is_command: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "train"])
    assert patches._runs_a_command() == is_command


@pytest.mark.usefixtures("root_logger")
def test_a_command_that_fails_prints_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config = small_config(tmp_path)
    config["model"]["precision"] = "fp16"
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = ("train", tmp_path / "config.json", "-s", tmp_path / "out")
    line = 'error: `precision` must be "fp32" or "bf16", got "fp16"'
    ended = run_command_to_its_end(monkeypatch, capsys, *command)
    assert line in ended.err and "Traceback" not in ended.err
    shutil.rmtree(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(patches, "print_error_lines_of_commands", lambda: None)
        ended = run_command_to_its_end(monkeypatch, capsys, *command)
    assert line not in ended.err and "Traceback" in ended.err
