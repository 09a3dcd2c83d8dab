import tracemalloc
from pathlib import Path

import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import read_archive

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
