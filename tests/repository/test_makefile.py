"""What `make` would run."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_a_training_that_has_begun_is_resumed(tmp_path: Path) -> None:
    assert "--recover" not in make("train", f"OUT={tmp_path}").stdout
    (tmp_path / "config.json").touch()
    assert f"train training_config/bilm.jsonnet -s {tmp_path} --recover" in make("train", f"OUT={tmp_path}").stdout


@pytest.mark.parametrize("given", ["TRAIN", "HELDOUT"])
def test_a_text_without_the_other_is_refused(given: str) -> None:
    ended = make("train", f"{given}=text.txt")
    assert ended.returncode != 0 and "TRAIN and HELDOUT go together" in ended.stderr


def test_examples_are_measured_anew_into_the_runs() -> None:
    commands = make("results", "DATA=data").stdout
    assert commands.count("-m examples.") == 9 and "examples/low_resource/figures.jsonl" not in commands
