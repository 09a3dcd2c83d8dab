"""Sizes of biLMs, in the keys of bilm-tf's options.json."""

from typing import Any

# Words of the 1 Billion Word benchmark's vocabulary, on which the released biLMs were trained.
RELEASED_VOCABULARY = 793_471

Options = dict[str, Any]

_RELEASED_FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]]


def bilm_options(
    cell: int, projection: int, filters: list[list[int]], n_highway: int, n_negatives: int, dropout: float = 0.0
) -> Options:
    """Return the options of a biLM with two layers, clips of 3 and skip connections, as all released biLMs have."""
    return {
        "bidirectional": True,
        "char_cnn": {"activation": "relu", "embedding": {"dim": 16}, "filters": filters, "n_highway": n_highway},
        "lstm": {
            "dim": cell,
            "projection_dim": projection,
            "n_layers": 2,
            "cell_clip": 3.0,
            "proj_clip": 3.0,
            "use_skip_connections": True,
        },
        "dropout": dropout,
        "unroll_steps": 20,
        "n_negative_samples_batch": n_negatives,
    }


def released_small() -> Options:
    """Return the options of the released small size."""
    return bilm_options(1024, 128, _RELEASED_FILTERS, n_highway=1, n_negatives=8192)


def released_original() -> Options:
    """Return the options of Peters et al. 2018."""
    return bilm_options(4096, 512, _RELEASED_FILTERS, n_highway=2, n_negatives=8192)


def tiny() -> Options:
    """Return options of a tiny size, to check that a benchmark runs."""
    return bilm_options(32, 16, [[1, 8], [2, 8], [3, 16]], n_highway=1, n_negatives=64)
