from pathlib import Path

import pytest

from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.small_encoders import options_of, random_encoder


@pytest.fixture
def weights_file(tmp_path: Path) -> tuple[Path, BiLMOptions]:
    """Return the path of a small encoder's weights.hdf5, and the options of the encoder."""
    options = options_of("usual")
    path = tmp_path / "weights.hdf5"
    write_weights(path, random_encoder(options), options)
    return path, options


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory for archives and temporary files, inside of another empty directory."""
    directory = tmp_path / "outer" / "inner"
    (directory / "temporary").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(directory / "temporary"))
    monkeypatch.chdir(directory)
    return directory
