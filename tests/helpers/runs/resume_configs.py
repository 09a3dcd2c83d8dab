"""
Configs of many kinds. A run of each is interrupted twice in mid-epoch, recovered, and compared with an uninterrupted run.

The test suite runs a few configs, `python -m tests.faults.soak` all of them.
"""

import os
from pathlib import Path
from typing import Any

import torch

from tests.helpers.runs.interrupted_runs import (
    ActAfterBatch,
    archived_weights,
    config_of,
    short_run,
    train,
)

NUM_EPOCHS = 3
NUM_VALIDATION_BATCHES = 2
OMITTED = "omitted"
SAVE_EVERY = 2

_EXACT = {"model": {"sample_softmax": False}, "data_loader": {"n_negative_samples_batch": OMITTED}}
_MOMENTUM = {"type": "sgd", "lr": 0.1, "momentum": 0.9}
_GROUPS = [[[f"language_model\\.{part}\\."], {}] for part in ("token_encoder", "bilm", "softmax")]


def _scheduler(kind: str, **options: Any) -> dict[str, Any]:
    return {"trainer": {"learning_rate_scheduler": {"type": kind, **options}}}


def _exact(optimizer: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    return {**_EXACT, "trainer": {"optimizer": optimizer, **trainer}}


def _cell(**lstm: Any) -> dict[str, Any]:
    return {"model": {"lstm": lstm}}


# The changes of each config to `interrupted_runs.short_run`. Where both values are dicts, they are merged.
RESUME_CONFIGS: dict[str, dict[str, Any]] = {
    "usual": {},
    # Schedulers of the learning rate.
    "constant": _scheduler("constant"),
    "constant_with_warmup": _scheduler("constant_with_warmup", num_warmup_steps=2),
    "cosine_with_warmup": _scheduler("cosine_with_warmup", num_warmup_steps=2, num_training_steps=30),
    "cosine_hard_restarts": _scheduler(
        "cosine_hard_restarts_with_warmup", num_warmup_steps=1, num_training_steps=30, num_cycles=2
    ),
    "linear_with_warmup": _scheduler("linear_with_warmup", warmup_steps=4),
    "polynomial_decay": _scheduler("polynomial_decay", warmup_steps=3, power=2, end_learning_rate=0.01),
    "noam": _scheduler("noam", model_size=16, warmup_steps=8),
    "step": _scheduler("step", step_size=1, gamma=0.5),
    "multi_step": _scheduler("multi_step", milestones=[1, 2], gamma=0.5),
    "exponential": _scheduler("exponential", gamma=0.7),
    "reduce_on_plateau": _scheduler("reduce_on_plateau", mode="max", patience=0, factor=0.5),
    "cosine": _scheduler("cosine", t_initial=3),
    "cosine with restarts": _scheduler("cosine", t_initial=1, t_mul=1.5, eta_mul=0.8, eta_min=0.01),
    "slanted_triangular": _scheduler("slanted_triangular", cut_frac=0.3),
    "gradual unfreezing": {
        "trainer": {
            "optimizer": {"type": "bilm", "parameter_groups": _GROUPS},
            "learning_rate_scheduler": {
                "type": "slanted_triangular",
                "gradual_unfreezing": True,
                "discriminative_fine_tuning": True,
            },
        }
    },
    "combined": _scheduler(
        "combined",
        schedulers=[
            [1, {"type": "slanted_triangular", "cut_frac": 0.3}],
            [2, {"type": "polynomial_decay", "warmup_steps": 4}],
        ],
    ),
    "combined by epoch": _scheduler(
        "combined", schedulers=[[2, {"type": "cosine", "t_initial": 2}], [1, {"type": "exponential", "gamma": 0.5}]]
    ),
    # Momentum, optimizers, moving averages.
    "inverted_triangular": _exact(
        _MOMENTUM, momentum_scheduler={"type": "inverted_triangular", "cool_down": 1, "warm_up": 1}
    ),
    "momentum and learning rate": _exact(
        _MOMENTUM,
        momentum_scheduler={"type": "inverted_triangular", "cool_down": 1, "warm_up": 2},
        learning_rate_scheduler={"type": "cosine", "t_initial": 2},
    ),
    "moving_average": {"trainer": {"moving_average": {"type": "exponential", "decay": 0.9}}},
    "moving_average and cosine": {
        "trainer": {
            "moving_average": {"type": "exponential", "decay": 0.8},
            "learning_rate_scheduler": {"type": "cosine", "t_initial": 2},
            "num_gradient_accumulation_steps": 2,
        }
    },
    "adam": _exact({"type": "adam", "lr": 0.01}),
    "adamw and clip": _exact({"type": "adamw", "lr": 0.01}, grad_norm=1.0),
    "dense_sparse_adam": {"trainer": {"optimizer": {"type": "dense_sparse_adam", "lr": 0.01}}},
    "averaged_sgd": _exact({"type": "averaged_sgd", "lr": 0.1}),
    "rmsprop": _exact({"type": "rmsprop", "lr": 0.01}),
    "no clip": {"trainer": {"optimizer": {"type": "bilm", "max_norm": None}}},
    # The trainer.
    "accumulation": {"trainer": {"num_gradient_accumulation_steps": 2}},
    "accumulation of a remainder": {"trainer": {"num_gradient_accumulation_steps": 3}},
    "a part frozen": {"trainer": {"no_grad": ["token_encoder"]}},
    "validation of some epochs": {
        "trainer": {
            "callbacks": [
                {"type": "bilm"},
                {"type": "should_validate_callback", "validation_interval": 2},
                {"type": "act-after-batch"},
            ]
        }
    },
    "no validation": {"validation_data_path": OMITTED, "validation_data_loader": OMITTED},
    "a checkpoint per batch": {"trainer": {"checkpointer": {"type": "bilm", "save_every_num_batches": 1}}},
    # Model and data.
    "bfloat16": {"model": {"precision": "bf16"}},
    "exact softmax": _EXACT,
    "negatives of the model": {"data_loader": {"n_negative_samples_batch": OMITTED}},
    "one direction": {"model": {"bidirectional": False}},
    "gru": _cell(cell="gru", cell_clip=OMITTED, proj_clip=OMITTED),
    "rnn": _cell(cell="rnn", cell_clip=OMITTED, proj_clip=OMITTED),
    "layer norm": _cell(layer_norm=True),
    "three layers": _cell(n_layers=3, use_skip_connections=False),
    "words": {
        "dataset_reader": {"token_indexers": {"tokens": {"type": "single_id"}}},
        "model": {"char_cnn": OMITTED},
    },
    "words with one matrix": {
        "dataset_reader": {"token_indexers": {"tokens": {"type": "single_id"}}},
        "model": {"char_cnn": OMITTED, "share_embedding_softmax": True, "lstm": {"projection_dim": 8}},
    },
    "sentences": {"data_loader": {"type": "bilm_sentences", "batch_tokens": 20, "n_negative_samples_batch": 10}},
    "in order": {"data_loader": {"shuffle": False}},
    "one lane": {"data_loader": {"batch_size": 1, "num_steps": 20}},
    "part of a text": {"dataset_reader": {"max_instances": 15}},
}


def assert_resumes(name: str, directory: Path) -> None:
    """Train the config `name` with and without interruptions; compare losses, checkpoints, best weights and archives bit by bit."""
    uninterrupted, interrupted = directory / "uninterrupted", directory / "interrupted"
    losses = train(uninterrupted, **_changes(name, uninterrupted))
    lengths = [ActAfterBatch.epochs.count(epoch) for epoch in range(NUM_EPOCHS)]
    first = train(interrupted, lengths[0] // 2 + 1, **_changes(name, interrupted))
    assert first == losses[: len(first)] and ActAfterBatch.epochs[-1] == 0
    num_saved = max(int(path.stem.partition("_b")[2]) for path in (interrupted / "out").glob("model_state_e0_b*.th"))
    after_batch = lengths[0] - num_saved + NUM_VALIDATION_BATCHES + lengths[1] // 2 + 1
    second = train(interrupted, after_batch, recover=True, **_changes(name, interrupted))
    assert second == losses[num_saved:][: len(second)] and ActAfterBatch.epochs[-1] == 1
    third = train(interrupted, recover=True, **_changes(name, interrupted))
    assert third == losses[-len(third) :] and lengths[2] < len(third) < lengths[1] + lengths[2]
    for file in (f"model_state_e{NUM_EPOCHS}_b0.th", f"training_state_e{NUM_EPOCHS}_b0.th", "best.th"):
        ours, expected = (torch.load(path / "out" / file, weights_only=True) for path in (interrupted, uninterrupted))
        _assert_same(_reproducible(ours), _reproducible(expected), file)
    _assert_same(archived_weights(interrupted), archived_weights(uninterrupted), "model.tar.gz")


def resume_in_process(name: str, directory: str, log: str) -> None:
    """Call `assert_resumes` in this process, whose output goes to the file `log`."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    Path(directory).mkdir()
    assert_resumes(name, Path(directory))


def _changes(name: str, directory: Path) -> dict[str, Any]:
    """Return the values that the config `name` has for the top-level keys of `interrupted_runs.config_of`."""
    config = {**config_of(directory), **short_run(directory, num_epochs=NUM_EPOCHS)}
    config["trainer"]["checkpointer"] = {"type": "bilm", "save_every_num_batches": SAVE_EVERY}
    changed = _merged(config, RESUME_CONFIGS[name])
    return {key: changed.get(key) for key in config}


def _merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(config)
    for key, value in changes.items():
        old = config.get(key)
        is_same_type = (
            isinstance(value, dict) and isinstance(old, dict) and value.get("type") in (None, old.get("type"))
        )
        result[key] = _merged(old, value) if is_same_type else value
    return {key: value for key, value in result.items() if value != OMITTED}


def _reproducible(state: dict[str, Any]) -> dict[str, Any]:
    """Return `state` without the directory's path and without the callbacks' states, which hold times."""
    return {key: value for key, value in state.items() if key not in ("best_model_filename", "callbacks")}


def _assert_same(ours: Any, expected: Any, name: str) -> None:
    assert type(ours) is type(expected), name
    if isinstance(expected, dict):
        assert ours.keys() == expected.keys(), name
        for key in expected:
            # The validation's speed is among the tracked metrics.
            if key != "tokens_per_second":
                _assert_same(ours[key], expected[key], f"{name}: {key}")
    elif isinstance(expected, (list, tuple)):
        assert len(ours) == len(expected), name
        for number, pair in enumerate(zip(ours, expected)):
            _assert_same(*pair, f"{name}: {number}")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(ours, expected), name
    else:
        assert ours == expected, name
