"""Configs that leave more to restore than the weights and the optimizer's sums. `python -m tests.faults.soak` runs many more."""

from pathlib import Path

import pytest

from tests.helpers.resume_configs import assert_resumes


@pytest.mark.parametrize(
    "name",
    [
        "moving_average",
        "combined",
        "gradual unfreezing",
        "reduce_on_plateau",
        "momentum and learning rate",
        "validation of some epochs",
    ],
)
def test_an_interrupted_run_becomes_the_one_without_interruptions(name: str, tmp_path: Path) -> None:
    assert_resumes(name, tmp_path)
