"""Sizes that a weights.hdf5 claims are checked before memory is allocated."""

import struct

import h5py
import numpy as np
import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats import parameters
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import read_parameters
from allennlp_elmo_plus.formats.name_table import conversion_table
from allennlp_elmo_plus.formats.pretrained import load_encoder
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.small_encoders import edit, read_weights
from tests.unit.formats.hdf5_changes import store


@pytest.fixture
def model_must_not_be_built(monkeypatch):
    def build(*_):
        raise AssertionError("the model was built")

    monkeypatch.setattr(parameters, "build_encoder", build)


def test_chunked_datasets_are_read(weights_file):
    path, options = weights_file
    with h5py.File(path) as file:
        values = file["char_embed"][...]
    for chunks in ((1, 3), (100, 2), (261, 3)):
        edit(path, store("char_embed", chunks=chunks))
        encoder = build_encoder(options)
        read_weights(path, encoder, options)
        np.testing.assert_array_equal(encoder.token_encoder.cnn.embedding.detach().numpy(), values)


def test_a_chunk_that_claims_fewer_bytes_than_its_shape_needs_is_refused(weights_file):
    """HDF5 allocates the shape of a chunk, whatever number of bytes the file claims for the chunk."""
    path, options = weights_file
    num_bytes, claimed_bytes = 300 * 5 * 4, 261 * 3 * 4
    edit(path, store("char_embed", data=np.zeros((261, 3), "f4"), chunks=(300, 5), maxshape=(300, 5)))
    content = path.read_bytes()
    # The index of chunks holds the size of the only chunk and its filters, 0.
    index_entry = struct.pack("<II", num_bytes, 0)
    assert content.count(index_entry) == 1
    path.write_bytes(content.replace(index_entry, struct.pack("<II", claimed_bytes, 0)))
    with h5py.File(path) as file:
        assert file["char_embed"].id.get_storage_size() == claimed_bytes == file["char_embed"].nbytes
    with pytest.raises(InputError) as error:
        read_parameters(path, options, None)
    assert str(error.value) == (
        f"{path}: dataset `char_embed` must have chunks no larger than what is stored, 3,132 bytes, got 6,000"
    )


def test_one_dataset_under_many_names_is_refused_before_the_model_is_built(tmp_path, model_must_not_be_built):
    options = BiLMOptions.from_dict({"lstm": {"dim": 64, "projection_dim": 64, "n_layers": 64}, "n_tokens_vocab": 8})
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        for row in conversion_table(options):
            name = f"first of {row.shape}"
            if name not in file:
                file[name] = np.zeros(row.shape, "f4")
            file[row.dataset] = file[name]
    with pytest.raises(InputError) as error:
        load_encoder(options, path)
    # 128 kernels of 128 x 256, 128 biases of 256, and the embedding of words.
    assert f"{path}: the datasets must be stored apart, 16,910,336 bytes, got a file of " in str(error.value)


def test_an_embedding_that_is_not_stored_is_refused_before_the_model_is_built(tmp_path, model_must_not_be_built):
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("embedding", (2**40, 64), "f4", chunks=(2**10, 64))
    options = BiLMOptions.from_dict({"lstm": {"dim": 64, "projection_dim": 64}})
    with pytest.raises(
        InputError, match="dataset `embedding` must be stored in full, 281,474,976,710,656 bytes, got 0 "
    ):
        load_encoder(options, path)


def test_a_dataset_of_a_huge_shape_is_not_read(weights_file):
    path, options = weights_file
    edit(path, store("char_embed", shape=(2**40, 2**10), chunks=(2**10, 2**10)))
    with pytest.raises(InputError, match=r"must have shape \(261, 3\) by the options, got \(1099511627776, 1024\)"):
        read_weights(path, build_encoder(options), options)
