import logging
import os
import struct

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats import parameters
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import read_parameters, write_weights
from allennlp_elmo_plus.formats.name_table import conversion_table
from allennlp_elmo_plus.formats.pretrained import load_encoder
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.small_encoders import (
    BASE,
    edit,
    options_of,
    random_encoder,
    read_weights,
)


def replace(name, value):
    def change(file):
        del file[name]
        if value is not None:
            file[name] = value

    return change


def to_another_file(file):
    del file["char_embed"]
    file["char_embed"] = h5py.ExternalLink("/etc/other.hdf5", "/char_embed")


def group_to_another_file(file):
    del file["CNN"]
    file["CNN"] = h5py.ExternalLink("/etc/other.hdf5", "/CNN")


def to_another_place(file):
    del file["char_embed"]
    file["char_embed"] = h5py.SoftLink("/CNN/b_cnn_0")


def external_storage(file):
    del file["char_embed"]
    file.create_dataset("char_embed", (261, 3), "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def virtual(file):
    del file["char_embed"]
    layout = h5py.VirtualLayout((261, 3), "f4")
    layout[...] = h5py.VirtualSource("/etc/other.hdf5", "char_embed", (261, 3))
    file.create_virtual_dataset("char_embed", layout)


def stored(shape=(261, 3), **settings):
    def change(file):
        del file["char_embed"]
        file.create_dataset("char_embed", shape, settings.pop("dtype", "f4"), **settings)

    return change


def banned_words(file):
    del file["char_embed"]
    file.create_dataset("char_embed", (261, 3), "f4", fillvalue=1)


def a_chunk_left_out(file):
    del file["char_embed"]
    file.create_dataset("char_embed", (261, 3), "f4", chunks=(1, 3))[1:] = 1


def a_chunk_of_many(file):
    del file["char_embed"]
    file.create_dataset("char_embed", (261, 3), "f4", chunks=(2**18, 2**10), maxshape=(None, None))


def a_circle(file):
    del file["CNN"]
    file["CNN"] = h5py.SoftLink("/CNN")


def a_group(file):
    del file["char_embed"]
    file["char_embed"] = file["/"]


def one(value):
    """Zeros, but for the last number of all."""
    values = np.zeros((261, 3))
    values[-1, -1] = value
    return values


COMPOUND = np.dtype([("a", "f4"), ("b", "f4")])


@pytest.mark.parametrize(
    "change, message",
    [
        (replace("char_embed", None), "dataset `char_embed` is missing; expected shape (261, 3)"),
        (replace("CNN", None), "dataset `CNN/W_cnn_0` is missing; expected shape (1, 1, 3, 4)"),
        (
            replace("char_embed", np.zeros((262, 3), "f4")),
            "dataset `char_embed` must have shape (261, 3) by the options, got (262, 3)",
        ),
        (replace("char_embed", np.float32(1)), "dataset `char_embed` must have shape (261, 3) by the options, got ()"),
        (
            replace("char_embed", np.zeros((261, 3), "i4")),
            "dataset `char_embed` must hold floating-point numbers, got int32",
        ),
        (
            replace("char_embed", np.full((261, 3), np.nan, "f4")),
            "dataset `char_embed` must hold finite numbers of float32, got nan",
        ),
        (replace("char_embed", one(-np.inf)), "dataset `char_embed` must hold finite numbers of float32, got -inf"),
        (replace("char_embed", one(1e39)), "dataset `char_embed` must hold finite numbers of float32, got 1e+39"),
        (to_another_file, "dataset `char_embed` lies behind a link, which is not followed"),
        (group_to_another_file, "dataset `CNN/W_cnn_0` lies behind a link, which is not followed"),
        (to_another_place, "dataset `char_embed` lies behind a link, which is not followed"),
        (external_storage, "dataset `char_embed` keeps its data in another file, which is not opened"),
        (virtual, "dataset `char_embed` keeps its data in another file, which is not opened"),
        (a_circle, "dataset `CNN/W_cnn_0` lies behind a link, which is not followed"),
        (a_group, "dataset `char_embed` is missing; expected shape (261, 3)"),
        (
            replace("char_embed", h5py.Empty("f4")),
            "dataset `char_embed` must have shape (261, 3) by the options, got None",
        ),
        (
            stored(dtype=COMPOUND),
            "dataset `char_embed` must hold floating-point numbers, got [('a', '<f4'), ('b', '<f4')]",
        ),
        (
            stored(dtype=np.dtype([(f"field {number}", "f4") for number in range(200)])),
            "dataset `char_embed` must hold floating-point numbers, "
            "got [('field 0', '<f4'), ('field 1', '<f4'), ('field 2', '<f4...",
        ),
        (
            stored(dtype=h5py.vlen_dtype("f4")),
            "dataset `char_embed` must hold floating-point numbers, got object",
        ),
        (stored(dtype=h5py.ref_dtype), "dataset `char_embed` must hold floating-point numbers, got object"),
        (stored(dtype=h5py.string_dtype()), "dataset `char_embed` must hold floating-point numbers, got object"),
        (stored(dtype="c8"), "dataset `char_embed` must hold floating-point numbers, got complex64"),
        (
            stored(data=np.zeros((261, 3)), compression="gzip"),
            "dataset `char_embed` must be stored without filters such as compression, got 'deflate' "
            "(`h5repack -f NONE` undoes them)",
        ),
        (
            stored(data=np.zeros((261, 3)), compression="lzf"),
            "dataset `char_embed` must be stored without filters such as compression, got 'lzf' "
            "(`h5repack -f NONE` undoes them)",
        ),
        (banned_words, "dataset `char_embed` must be stored in full, 3,132 bytes, got 0 in a file of "),
        (a_chunk_left_out, "dataset `char_embed` must be stored in full, 3,132 bytes, got 3,120 in a file of "),
        (a_chunk_of_many, "dataset `char_embed` must be stored in full, 3,132 bytes, got 0 in a file of "),
    ],
)
def test_a_file_that_does_not_fit_is_refused_naming_the_dataset(written, change, message):
    path, options = written
    edit(path, change)
    with pytest.raises(InputError) as error:
        read_weights(path, build_encoder(options), options)
    assert str(error.value).startswith(f"{path}: {message}")
    # Of messages that end with the size of the file, the end is left to HDF5.
    assert message.endswith(" of ") or str(error.value) == f"{path}: {message}"


def test_all_datasets_are_checked_before_the_first_is_read(written, monkeypatch):
    path, options = written
    read = []
    monkeypatch.setattr("allennlp_elmo_plus.formats.bilm_tf_hdf5.read", read.append)
    *_, last = conversion_table(options)
    edit(path, replace(last.dataset, None))
    with pytest.raises(InputError, match=f"dataset `{last.dataset}` is missing"):
        read_parameters(path, options, None)
    assert read == []


def test_numbers_stored_in_chunks_are_read(written):
    path, options = written
    with h5py.File(path) as file:
        values = file["char_embed"][...]
    for chunks in ((1, 3), (100, 2), (261, 3)):
        edit(path, stored(data=values, chunks=chunks))
        encoder = build_encoder(options)
        read_weights(path, encoder, options)
        np.testing.assert_array_equal(encoder.token_encoder.cnn.embedding.detach().numpy(), values)


def test_a_chunk_that_claims_to_take_less_room_than_it_is_large_is_refused(written):
    """What a file says of the room that a chunk takes is no measure of the memory that reading the chunk takes."""
    path, options = written
    chunk, claimed = 300 * 5 * 4, 261 * 3 * 4
    edit(path, stored(data=np.zeros((261, 3)), chunks=(300, 5), maxshape=(300, 5)))
    content = path.read_bytes()
    # The size of the one chunk and its filters, of which it has none, in the index of chunks.
    assert content.count(struct.pack("<II", chunk, 0)) == 1
    path.write_bytes(content.replace(struct.pack("<II", chunk, 0), struct.pack("<II", claimed, 0)))
    with h5py.File(path) as file:
        assert file["char_embed"].id.get_storage_size() == claimed == file["char_embed"].nbytes
    with pytest.raises(InputError) as error:
        read_parameters(path, options, None)
    assert str(error.value) == (
        f"{path}: dataset `char_embed` must have chunks no larger than what is stored, 3,132 bytes, got 6,000"
    )


@pytest.fixture
def nothing_is_built(monkeypatch):
    def build(options):
        raise AssertionError("memory was taken")

    monkeypatch.setattr(parameters, "build_encoder", build)


def test_one_dataset_under_the_names_of_many_is_refused_before_the_model_is_built(tmp_path, nothing_is_built):
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
    # 128 kernels of 128 x 256, 128 biases of 256, and the words.
    assert f"{path}: the datasets must be stored apart, 16,910,336 bytes, got a file of " in str(error.value)


def test_words_that_are_only_claimed_are_refused_before_the_model_is_built(tmp_path, nothing_is_built):
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("embedding", (2**40, 64), "f4", chunks=(2**10, 64))
    options = BiLMOptions.from_dict({"lstm": {"dim": 64, "projection_dim": 64}})
    with pytest.raises(
        InputError, match="dataset `embedding` must be stored in full, 281,474,976,710,656 bytes, got 0 "
    ):
        load_encoder(options, path)


def test_other_files_are_not_opened_by_what_is_not_used(written, caplog):
    path, options = written
    other = path.with_name("other.hdf5")
    with h5py.File(other, "w") as file:
        file["x"] = np.zeros(4)

    def change(file):
        file["link"] = h5py.ExternalLink(str(other), "/x")
        layout = h5py.VirtualLayout((4,), "f8")
        layout[...] = h5py.VirtualSource(str(other), "x", (4,))
        file.create_virtual_dataset("virtual", layout)
        file["a\n\x1b[2J"] = np.zeros(1)

    edit(path, change)
    os.utime(other, (1, 1))
    with caplog.at_level(logging.WARNING):
        read_weights(path, build_encoder(options), options)
    assert caplog.messages == [f"{path}: not used, by the options: 'a\\n\\x1b[2J', virtual"]
    assert os.stat(other).st_atime == 1
    other.read_bytes()
    if os.stat(other).st_atime == 1:
        pytest.skip("this file system keeps no times of access")


def test_a_dataset_that_claims_to_be_huge_is_not_read(written):
    path, options = written

    def change(file):
        del file["char_embed"]
        file.create_dataset("char_embed", (2**40, 2**10), "f4", chunks=(2**10, 2**10))

    edit(path, change)
    with pytest.raises(InputError, match=r"must have shape \(261, 3\) by the options, got \(1099511627776, 1024\)"):
        read_weights(path, build_encoder(options), options)


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    directory = tmp_path_factory.mktemp("truncated")
    options = options_of("usual")
    path = directory / "weights.hdf5"
    write_weights(path, random_encoder(options), options)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError) as error:
        read_weights(path, build_encoder(options), options)
    assert str(error.value).startswith(f"{path}: must be a whole HDF5 file of weights; it may be truncated: ")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.hdf5: there is no such file"):
        read_weights(tmp_path / "nowhere.hdf5", build_encoder(options_of("usual")), options_of("usual"))


def test_weights_that_the_options_have_no_place_for_are_warned_of(written, caplog):
    path, _ = written
    options = options_of("one layer")
    with caplog.at_level(logging.WARNING):
        read_weights(path, build_encoder(options), options)
    assert len(caplog.records) == 1
    assert "not used, by the options: RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell/B, " in caplog.text


def test_a_model_of_other_options_is_refused_before_the_file_is_opened(tmp_path):
    with pytest.raises(
        ValueError, match=r"`token_encoder.highway.carry_weights.0` must have shape \(10, 10\) by the options, got None"
    ):
        write_weights(tmp_path / "weights.hdf5", build_encoder(options_of("no highway")), options_of("usual"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes, named",
    [({"cell": "gru"}, "`lstm.cell`"), ({"cell": "rnn"}, "`lstm.cell`"), ({"layer_norm": True}, "`lstm.layer_norm`")],
)
def test_a_model_that_the_format_has_no_place_for_is_refused_by_name(written, tmp_path, changes, named):
    path, _ = written
    options = BiLMOptions.from_dict({**BASE, "lstm": {**BASE["lstm"], **changes}})
    message = f"weights.hdf5 has no place for a model with {named}, which bilm-tf does not know$"
    with pytest.raises(InputError, match=f"^{message}"):
        write_weights(tmp_path / "new.hdf5", build_encoder(options), options)
    with pytest.raises(InputError, match=f"^{path}: {message}"):
        read_weights(path, build_encoder(options), options)
    assert not (tmp_path / "new.hdf5").exists()
