import tracemalloc
from pathlib import Path

import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import read_archive
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


# The small part of an archive that is read before it is refused, and the objects of torch.
MAX_BYTES = 16 * 2**20


def refusal_of(path: Path) -> str:
    """Return the message with which the archive at `path` is refused. No file may appear in the directory above the archive's."""
    outer = path.parent.parent
    before = sorted(outer.rglob("*"))
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as error:
            read_archive(path)
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()
    assert sorted(outer.rglob("*")) == before
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 400 + len(str(path))
    return str(error.value).removeprefix(f"{path}: ")
