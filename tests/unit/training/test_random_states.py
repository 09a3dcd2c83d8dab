"""Random generators continue from states that were saved in a file."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from allennlp_elmo_plus.training.random_states import random_states, restore_random_states

DRAWS: dict[str, Callable[[], Any]] = {
    "torch": lambda: torch.rand(3).tolist(),
    "numpy": lambda: np.random.rand(3).tolist(),
    # The generator makes two numbers at once; the second one is part of its state.
    "normal numbers of numpy": lambda: np.random.standard_normal(1).tolist(),
    "python": lambda: [random.random() for _ in range(3)],
    "normal numbers of python": lambda: random.gauss(0, 1),
}


@pytest.mark.parametrize("name", DRAWS)
def test_restored_generators_repeat_their_numbers(name: str, tmp_path: Path) -> None:
    draw = DRAWS[name]
    draw()
    torch.save(random_states(), tmp_path / "states.th")
    expected = [draw() for _ in range(3)]
    assert [draw() for _ in range(3)] != expected
    restore_random_states(torch.load(tmp_path / "states.th", weights_only=True))
    assert [draw() for _ in range(3)] == expected
