"""Vectors that cannot be kept, or not where they were to be kept: nothing is lost, and nothing wrong is written."""

import numpy as np
import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.resumable_hdf5 import Layout, ResumableHdf5Writer
from tests.unit.storage.test_resumable_hdf5 import RUN, check, write


@pytest.mark.parametrize("as_npz", [False, True])
def test_a_file_that_another_program_creates_meanwhile_is_kept_and_so_are_the_vectors(tmp_path, as_npz):
    path = tmp_path / "vectors"
    with pytest.raises(InputError, match="it is there already"):
        write(path, lambda key: path.write_text("mine") if key == "8" else None, as_npz)
    assert path.read_text() == "mine"
    path.unlink()
    computed: list[str] = []
    write(path, computed.append, as_npz)
    assert computed == []
    check(path, as_npz)


def test_a_number_that_16_bits_cannot_hold_is_refused(tmp_path):
    layout = Layout(lambda: [("0", (2,)), ("1", (2,))], lambda: {}, "float16")
    with ResumableHdf5Writer(tmp_path / "vectors.hdf5", RUN, layout, num_bytes=100) as file:
        file.write("0", np.array([65504, -np.inf], np.float32), 1)
        with pytest.raises(InputError, match="vectors.hdf5`: a number is too large for float16$"):
            file.write("1", np.array([1, 65520], np.float32), 1)
