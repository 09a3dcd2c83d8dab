"""Configs whose schedulers or averages have their own state to restore. `python -m tests.faults.soak` runs many more configs."""

from pathlib import Path

import pytest

from tests.helpers.runs.resume_configs import assert_resumes


@pytest.mark.slow
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
def test_an_interrupted_run_has_the_checkpoints_of_an_uninterrupted_run(name: str, tmp_path: Path) -> None:
    assert_resumes(name, tmp_path)
