"""Optimizers and clips that need dense gradients, with a model whose sampled softmax has sparse gradients."""

import copy
import logging
from functools import partial
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from allennlp.commands.train import TrainModel, train_model
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.common.util import prepare_environment
from allennlp.training import GradientDescentTrainer

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.modules import language_model
from tests.helpers.runs.distributed_runs import read_weights, train_in_processes
from tests.helpers.runs.process_pool import ProcessPool
from tests.helpers.small_text import small_config

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"lr": 1e-2},
    "adamw": {"lr": 1e-2},
    "adamax": {"lr": 1e-2},
    "huggingface_adamw": {"lr": 1e-2},
    "huggingface_adafactor": {},
    "adagrad": {"lr": 0.1, "weight_decay": 0.01},
    "adadelta": {},
    "sgd": {"lr": 0.1, "weight_decay": 0.01},
    "rmsprop": {"lr": 1e-3},
    "averaged_sgd": {"lr": 0.1},
    "bilm": {},
}
# Optimizers that accept sparse gradients, with the options that they need for it.
SPARSE: dict[str, dict[str, Any]] = {"bilm": {}, "adagrad": {}, "sgd": {"lr": 0.1}, "dense_sparse_adam": {}}


MULTI = {
    "type": "multi",
    "optimizers": {"default": {"type": "bilm"}, "softmax": {"type": "adam", "lr": 1e-2}},
    "parameter_groups": [[["softmax"], {"optimizer_name": "softmax"}]],
}


def config_of(directory: Path, optimizer: dict[str, Any], words: bool = False, **trainer: Any) -> dict[str, Any]:
    config = small_config(directory)
    config["trainer"] |= {"optimizer": optimizer, "num_epochs": 1, **trainer}
    if words:
        del config["model"]["char_cnn"]
        config["dataset_reader"]["token_indexers"] = {"tokens": {"type": "single_id"}}
    return config


def built(config: dict[str, Any], directory: Path) -> GradientDescentTrainer:
    params = Params(copy.deepcopy(config))
    prepare_environment(params)
    loop = TrainModel.from_params(params, serialization_dir=str(directory / "built"), local_rank=0)
    return loop.trainer


def trained(config: dict[str, Any], directory: Path) -> dict[str, torch.Tensor]:
    params = Params(copy.deepcopy(config))
    model = train_model(params, str(directory), force=True)
    assert model is not None
    return {name: value.clone() for name, value in model.state_dict().items()}


def dense_reference(
    config: dict[str, Any], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, torch.Tensor]:
    """Return the weights of the same training with a softmax and an embedding that have dense gradients."""
    with monkeypatch.context() as patch:
        dense_nll = partial(language_model.sampled_softmax_nll, sparse=False)
        patch.setattr(language_model, "sampled_softmax_nll", dense_nll)
        patch.setattr(
            "allennlp_elmo_plus.modules.token_encoder.F.embedding", _dense_embedding(torch.nn.functional.embedding)
        )
        return trained(config, directory)


def _dense_embedding(embedding: Any) -> Any:
    return lambda *arguments, sparse=False, **options: embedding(*arguments, **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_as_with_dense_gradients(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, {"type": name, **OPTIMIZERS[name]})
    expected = dense_reference(config, tmp_path / "dense", monkeypatch)
    actual = trained(config, tmp_path / "ours")
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=0 if name != "bilm" else 1e-6, msg=key)


@pytest.mark.parametrize("clip", [{"grad_norm": 0.5}, {"grad_clipping": 0.01}, {"grad_norm": True}], ids=str)
@pytest.mark.parametrize("optimizer", ["bilm", "adam"])
def test_the_trainers_clips_apply_to_all_gradients(
    clip: dict[str, Any], optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, {"type": optimizer}, **clip)
    expected = dense_reference(config, tmp_path / "dense", monkeypatch)
    actual = trained(config, tmp_path / "ours")
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=1e-7, msg=key)
    if clip != {"grad_norm": True}:
        unclipped = trained(config_of(tmp_path, {"type": optimizer}), tmp_path / "unclipped")
        assert not torch.equal(unclipped["language_model.softmax.weight"], actual["language_model.softmax.weight"])


@pytest.mark.parametrize("shared", [False, True])
def test_word_embeddings_are_trained_as_with_dense_gradients(
    shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(
        tmp_path, {"type": "adam", "lr": 1e-2}, words=True, grad_norm=1.0, num_gradient_accumulation_steps=2
    )
    config["model"]["share_embedding_softmax"] = shared
    expected = dense_reference(config, tmp_path / "dense", monkeypatch)
    actual = trained(config, tmp_path / "ours")
    for key, value in expected.items():
        # Adam divides by the root of the squared gradient, which magnifies rounding where a gradient is near zero.
        torch.testing.assert_close(actual[key], value, rtol=0, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", SPARSE)
def test_optimizers_that_accept_sparse_gradients_get_them(name: str, tmp_path: Path) -> None:
    trainer = built(config_of(tmp_path, {"type": name, **SPARSE[name]}), tmp_path)
    are_sparse: list[bool] = []
    step = trainer.optimizer.step

    def recorded_step() -> None:
        are_sparse.extend(param.grad.is_sparse for param in trainer.model.language_model.sparse_parameters())
        step()

    trainer.optimizer.step = recorded_step
    trainer.train()
    assert are_sparse and all(are_sparse)
    assert "rescale_gradients" not in vars(trainer)


def test_a_multi_optimizer_trains_as_with_dense_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path, MULTI)
    expected = dense_reference(config, tmp_path / "dense", monkeypatch)
    actual = trained(config, tmp_path / "ours")
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=0, msg=key)


def test_an_optimizer_that_needs_sparse_gradients_is_refused_when_the_trainer_is_built(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'"sparse_adam" takes sparse gradients only.*"dense_sparse_adam"'):
        built(config_of(tmp_path, {"type": "sparse_adam"}), tmp_path)


@pytest.mark.parametrize("optimizer", ["bilm", "adam"])
def test_a_batch_without_gradients_has_no_norm(optimizer: str, tmp_path: Path) -> None:
    trainer = built(config_of(tmp_path, {"type": optimizer}, grad_norm=True), tmp_path)
    assert trainer.rescale_gradients() is None
    for parameter in trainer.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert trainer.rescale_gradients() > 1


@pytest.mark.parametrize("trainer, option", [({"grad_norm": 5.0}, "`grad_norm`"), ({}, None)])
def test_the_log_names_the_option_that_needs_dense_gradients(
    trainer: dict[str, Any], option: Optional[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        built(config_of(tmp_path, {"type": "bilm"}, **trainer), tmp_path)
    lines = [line for line in caplog.messages if "dense gradients" in line]
    assert (len(lines) == 1 and option in lines[0]) if option else not lines


def test_what_gradual_unfreezing_trains_later_is_trained_as_with_dense_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [[[f"language_model\\.{part}\\."], {}] for part in ("token_encoder", "bilm", "softmax")]
    unfreezing = {"type": "slanted_triangular", "gradual_unfreezing": True}
    config = config_of(
        tmp_path,
        {"type": "adam", "lr": 1e-2, "parameter_groups": groups},
        words=True,
        learning_rate_scheduler=unfreezing,
    )
    config["trainer"]["num_epochs"] = 4
    expected = dense_reference(config, tmp_path / "dense", monkeypatch)
    actual = trained(config, tmp_path / "ours")
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=1e-5, msg=key)


@pytest.mark.parametrize(
    "optimizer, clip",
    [
        ({"type": "adam", "lr": 0.05}, None),
        ({"type": "bilm", "lr": 0.05}, 0.5),
        pytest.param({"type": "adagrad", "lr": 0.05}, None, marks=pytest.mark.slow),
        pytest.param(MULTI, None, marks=pytest.mark.slow),
    ],
)
def test_several_processes_train_as_one(
    optimizer: dict[str, Any], clip: Optional[float], processes: ProcessPool, tmp_path: Path
) -> None:
    states = []
    for num_processes in (1, 2):
        directory = tmp_path / str(num_processes)
        directory.mkdir()
        config = config_of(directory, optimizer, grad_norm=clip or False)
        config["model"]["dropout"] = 0.0
        config["data_loader"] |= {"batch_size": 6 // num_processes, "shared_negatives": True}
        config["trainer"] |= {"checkpointer": {"type": "bilm"}, "callbacks": [{"type": "bilm"}]}
        if num_processes == 1:
            train_model(Params(config), str(directory / "out"))
        else:
            results = train_in_processes(processes, num_processes, config, directory / "out")
            assert [result["error"] for result in results] == [None, None]
        states.append(read_weights(directory / "out"))
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=1e-4, msg=name)
