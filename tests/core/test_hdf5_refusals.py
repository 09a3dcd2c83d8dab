import logging

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.core.builder import build_encoder
from allennlp_elmo_plus.core.errors import InputError
from allennlp_elmo_plus.core.hdf5 import read_weights, write_weights
from allennlp_elmo_plus.core.options import BiLMOptions
from tests.core.small_encoders import BASE, edit, options_of, random_encoder


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
            "dataset `char_embed` must hold finite numbers, got some that are not",
        ),
        (to_another_file, "dataset `char_embed` lies behind a link, which is not followed"),
        (group_to_another_file, "dataset `CNN/W_cnn_0` lies behind a link, which is not followed"),
        (to_another_place, "dataset `char_embed` lies behind a link, which is not followed"),
        (external_storage, "dataset `char_embed` keeps its data in another file, which is not opened"),
        (virtual, "dataset `char_embed` keeps its data in another file, which is not opened"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_naming_the_dataset(written, change, message):
    path, options = written
    edit(path, change)
    with pytest.raises(InputError) as error:
        read_weights(path, build_encoder(options), options)
    assert str(error.value) == f"{path}: {message}"


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
    message = f"^weights.hdf5 has no place for a model with {named}, which bilm-tf does not know$"
    with pytest.raises(InputError, match=message):
        write_weights(tmp_path / "new.hdf5", build_encoder(options), options)
    with pytest.raises(InputError, match=message):
        read_weights(path, build_encoder(options), options)
    assert not (tmp_path / "new.hdf5").exists()
