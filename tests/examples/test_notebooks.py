"""The notebooks, each run from its first cell to its last in a folder of its own."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of the repository that the notebooks use."""
    directory = tmp_path_factory.mktemp("notebooks")
    (directory / "fixtures").symlink_to(ROOT / "fixtures")
    return directory


def run(name: str, directory: Path) -> str:
    """Run a notebook and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / "notebooks" / f"{name}.py")]
    result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.skipif(find_spec("allennlp") is None, reason="AllenNLP is not installed")
def test_the_quick_start_and_the_classifier_run_in_this_order(directory: Path) -> None:
    output = run("quick_start", directory)
    assert "  in Open the [file] for reading ." in output and "(3, 6, 128)" in output
    assert "with the biLM: " in run("classifier", directory)


@pytest.mark.slow
def test_released_models_gives_the_vectors_of_allennlp(directory: Path) -> None:
    # Jupyter runs a notebook in its own folder.
    below = directory / "examples" / "notebooks"
    below.mkdir(parents=True)
    output = run("released_models", below)
    assert "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/W_0" in output and "largest difference from AllenNLP: " in output
