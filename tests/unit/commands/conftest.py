"""Fixtures for the tests of commands."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.command_line import Ended, run_command_to_its_end
from tests.helpers.exported_bilm import LINES, OPTIONS, exported


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Return a function that runs `allennlp ARGUMENTS` in this process."""
    return partial(run_command_to_its_end, monkeypatch, capsys)


@pytest.fixture(scope="module")
def bilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the options.json, weights.hdf5 and vocab.txt of a small biLM."""
    directory = tmp_path_factory.mktemp("bilm")
    exported(directory, BiLMOptions.from_dict(OPTIONS))
    return directory


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Return a file with `LINES`."""
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    return path
