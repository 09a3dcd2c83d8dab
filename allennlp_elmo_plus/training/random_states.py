"""The states of all generators of random numbers: PyTorch's, of each device, NumPy's and Python's."""

import random
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """The states, as tensors and plain numbers: `torch.load` with `weights_only` reads them."""
    name, keys, position, has_gauss, cached_gaussian = np.random.get_state(legacy=True)  # type: ignore[misc]
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached_gaussian),
        ],
        "python": random.getstate(),
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Goes on from what `random_states` gave; the devices' only where there are as many as there were."""
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *others = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *others))
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
