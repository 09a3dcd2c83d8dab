"""The content of options.json files, as dictionaries with the keys of bilm-tf."""

import copy
from typing import Any

# Every option of bilm-tf.
FULL: dict[str, Any] = {
    "bidirectional": True,
    "char_cnn": {
        "activation": "tanh",
        "embedding": {"dim": 4},
        "filters": [[1, 8], [2, 8], [3, 16]],
        "max_characters_per_token": 40,
        "n_characters": 262,
        "n_highway": 1,
    },
    "dropout": 0.1,
    "lstm": {
        "cell_clip": 3,
        "dim": 24,
        "n_layers": 2,
        "proj_clip": 2.5,
        "projection_dim": 12,
        "use_skip_connections": True,
    },
    "all_clip_norm_val": 10.0,
    "n_epochs": 10,
    "n_train_tokens": 1000,
    "batch_size": 128,
    "n_tokens_vocab": 500,
    "unroll_steps": 21,
    "n_negative_samples_batch": 64,
    "sample_softmax": False,
    "learning_rate": 0.1,
    "share_embedding_softmax": False,
}
# The options without a default.
MINIMAL: dict[str, Any] = {
    "char_cnn": {"activation": "relu", "embedding": {"dim": 4}, "filters": [[1, 8]]},
    "lstm": {"dim": 8, "projection_dim": 4},
}


def with_option(options: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a copy of `options` with `value` for `key`, sections joined by dots."""
    result = copy.deepcopy(options)
    *parents, leaf = key.split(".")
    section = result
    for parent in parents:
        section = section.setdefault(parent, {})
    section[leaf] = value
    return result
