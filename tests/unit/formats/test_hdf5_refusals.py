"""Each weights.hdf5 that does not fit the options is refused in one line that names the dataset."""

import logging
import os

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import read_parameters, write_weights
from allennlp_elmo_plus.formats.name_table import conversion_table
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.small_encoders import (
    BASE,
    edit,
    options_of,
    random_encoder,
    read_weights,
)
from tests.unit.formats.hdf5_changes import delete, external, link, replace, store, virtual

SHAPE = (261, 3)


def group_in_place_of_dataset(file):
    del file["char_embed"]
    file["char_embed"] = file["/"]


def first_chunk_missing(file):
    del file["char_embed"]
    file.create_dataset("char_embed", SHAPE, "f4", chunks=(1, 3))[1:] = 1


def last_value(value):
    """Return zeros of shape SHAPE whose last number is `value`."""
    values = np.zeros(SHAPE)
    values[-1, -1] = value
    return values


COMPOUND = np.dtype([("a", "f4"), ("b", "f4")])


@pytest.mark.parametrize(
    "change, message",
    [
        (delete("char_embed"), "dataset `char_embed` is missing; expected shape (261, 3)"),
        (delete("CNN"), "dataset `CNN/W_cnn_0` is missing; expected shape (1, 1, 3, 4)"),
        (
            replace("char_embed", np.zeros((262, 3), "f4")),
            "dataset `char_embed` must have shape (261, 3) by the options, got (262, 3)",
        ),
        (replace("char_embed", np.float32(1)), "dataset `char_embed` must have shape (261, 3) by the options, got ()"),
        (
            replace("char_embed", np.zeros(SHAPE, "i4")),
            "dataset `char_embed` must hold floating-point numbers, got int32",
        ),
        (
            replace("char_embed", np.full(SHAPE, np.nan, "f4")),
            "dataset `char_embed` must hold finite numbers of float32, got nan",
        ),
        (
            replace("char_embed", last_value(-np.inf)),
            "dataset `char_embed` must hold finite numbers of float32, got -inf",
        ),
        (
            replace("char_embed", last_value(1e39)),
            "dataset `char_embed` must hold finite numbers of float32, got 1e+39",
        ),
        (
            link("char_embed", h5py.ExternalLink("/etc/other.hdf5", "/char_embed")),
            "dataset `char_embed` lies behind a link, which is not followed",
        ),
        (
            link("CNN", h5py.ExternalLink("/etc/other.hdf5", "/CNN")),
            "dataset `CNN/W_cnn_0` lies behind a link, which is not followed",
        ),
        (
            link("char_embed", h5py.SoftLink("/moved")),
            "dataset `char_embed` lies behind a link, which is not followed",
        ),
        (external("char_embed"), "dataset `char_embed` keeps its data in another file, which is not opened"),
        (virtual("char_embed"), "dataset `char_embed` keeps its data in another file, which is not opened"),
        (
            link("CNN", h5py.SoftLink("/CNN")),
            "dataset `CNN/W_cnn_0` lies behind a link, which is not followed",
        ),
        (group_in_place_of_dataset, "dataset `char_embed` is missing; expected shape (261, 3)"),
        (
            replace("char_embed", h5py.Empty("f4")),
            "dataset `char_embed` must have shape (261, 3) by the options, got None",
        ),
        (
            store("char_embed", shape=SHAPE, dtype=COMPOUND),
            "dataset `char_embed` must hold floating-point numbers, got [('a', '<f4'), ('b', '<f4')]",
        ),
        (
            store("char_embed", shape=SHAPE, dtype=np.dtype([(f"field {number}", "f4") for number in range(200)])),
            "dataset `char_embed` must hold floating-point numbers, "
            "got [('field 0', '<f4'), ('field 1', '<f4'), ('field 2', '<f4...",
        ),
        (
            store("char_embed", shape=SHAPE, dtype=h5py.vlen_dtype("f4")),
            "dataset `char_embed` must hold floating-point numbers, got object",
        ),
        (
            store("char_embed", shape=SHAPE, dtype=h5py.ref_dtype),
            "dataset `char_embed` must hold floating-point numbers, got object",
        ),
        (
            store("char_embed", shape=SHAPE, dtype=h5py.string_dtype()),
            "dataset `char_embed` must hold floating-point numbers, got object",
        ),
        (
            store("char_embed", shape=SHAPE, dtype="c8"),
            "dataset `char_embed` must hold floating-point numbers, got complex64",
        ),
        (
            store("char_embed", compression="gzip"),
            "dataset `char_embed` must be stored without filters such as compression, got 'deflate' "
            "(`h5repack -f NONE` undoes them)",
        ),
        (
            store("char_embed", compression="lzf"),
            "dataset `char_embed` must be stored without filters such as compression, got 'lzf' "
            "(`h5repack -f NONE` undoes them)",
        ),
        (
            store("char_embed", shape=SHAPE, fillvalue=1),
            "dataset `char_embed` must be stored in full, 3,132 bytes, got 0 in a file of ",
        ),
        (first_chunk_missing, "dataset `char_embed` must be stored in full, 3,132 bytes, got 3,120 in a file of "),
        (
            store("char_embed", shape=SHAPE, chunks=(2**18, 2**10), maxshape=(None, None)),
            "dataset `char_embed` must be stored in full, 3,132 bytes, got 0 in a file of ",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_naming_the_dataset(weights_file, change, message):
    path, options = weights_file
    edit(path, change)
    with pytest.raises(InputError) as error:
        read_weights(path, build_encoder(options), options)
    assert str(error.value).startswith(f"{path}: {message}")
    # Messages that end with the size of the file are compared without it: the size depends on HDF5.
    assert message.endswith(" of ") or str(error.value) == f"{path}: {message}"


def test_all_datasets_are_checked_before_the_first_is_read(weights_file, monkeypatch):
    path, options = weights_file
    reads = []
    monkeypatch.setattr("allennlp_elmo_plus.formats.bilm_tf_hdf5.read_finite", reads.append)
    *_, last = conversion_table(options)
    edit(path, delete(last.dataset))
    with pytest.raises(InputError, match=f"dataset `{last.dataset}` is missing"):
        read_parameters(path, options, None)
    assert reads == []


def test_unused_links_are_not_followed_and_unused_datasets_are_logged(weights_file, caplog):
    path, options = weights_file
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


def test_unused_weights_are_logged_in_one_warning(weights_file, caplog):
    path, _ = weights_file
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
    "changes, option",
    [({"cell": "gru"}, "`lstm.cell`"), ({"cell": "rnn"}, "`lstm.cell`"), ({"layer_norm": True}, "`lstm.layer_norm`")],
)
def test_cells_that_the_format_cannot_store_are_refused_by_name(weights_file, tmp_path, changes, option):
    path, _ = weights_file
    options = BiLMOptions.from_dict({**BASE, "lstm": {**BASE["lstm"], **changes}})
    message = f"weights.hdf5 has no place for a model with {option}, which bilm-tf does not know$"
    with pytest.raises(InputError, match=f"^{message}"):
        write_weights(tmp_path / "new.hdf5", build_encoder(options), options)
    with pytest.raises(InputError, match=f"^{path}: {message}"):
        read_weights(path, build_encoder(options), options)
    assert not (tmp_path / "new.hdf5").exists()
