"""The wheel: it is enough to write a config and to start, from any folder."""

import configparser
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the content of the wheel."""
    directory = tmp_path_factory.mktemp("wheel")
    # The build writes into the source folder.
    source = directory / "source"
    source.mkdir()
    for name in ("allennlp_elmo_plus", "training_config", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", ".", "./source"]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "installed")
    return directory / "installed"


def test_the_wheel_has_every_file_of_the_package_and_every_config(installed: Path) -> None:
    def files(directory: Path) -> set[str]:
        paths = (Path(folder, name) for folder, _, names in os.walk(directory, followlinks=True) for name in names)
        return {str(path.relative_to(directory)) for path in paths if "__pycache__" not in path.parts}

    assert files(installed / "allennlp_elmo_plus") == files(ROOT / "allennlp_elmo_plus")
    assert (installed / "allennlp_elmo_plus" / "training_config" / "lib" / "options.libsonnet").is_file()


def test_the_wheel_has_its_entry_points_and_no_address(installed: Path) -> None:
    (information,) = installed.glob("*.dist-info")
    entry_points = configparser.ConfigParser()
    entry_points.read(information / "entry_points.txt", "utf-8")
    assert {name: dict(entry_points[name]) for name in entry_points.sections()} == {
        "console_scripts": {"elmo-plus": "allennlp_elmo_plus.__main__:main"},
        "spacy_factories": {"elmo_plus": "allennlp_elmo_plus.integrations._spacy:create_elmo_plus"},
    }
    metadata = (information / "METADATA").read_text("utf-8").partition("\n\n")[0]
    for line in ("Keywords: ELMo,", "Classifier: Programming Language :: Python :: 3.13", "Requires-Python: >=3.10"):
        assert line in metadata
    # None is known.
    assert "://" not in metadata


def test_the_wheel_writes_a_config_in_any_folder(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "allennlp_elmo_plus", "config", "bilm"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "type: 'bilm'" in result.stdout and "import '" not in result.stdout
