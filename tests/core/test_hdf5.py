import copy
import logging

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.core.builder import build_encoder
from allennlp_elmo_plus.core.errors import InputError
from allennlp_elmo_plus.core.hdf5 import read_vocab_size, read_weights, write_weights
from allennlp_elmo_plus.core.options import BiLMOptions
from allennlp_elmo_plus.core.weight_table import conversion_table, filler_table

BASE = {
    "char_cnn": {"activation": "relu", "embedding": {"dim": 3}, "filters": [[1, 4], [2, 6]], "n_highway": 2},
    "lstm": {"dim": 10, "projection_dim": 5, "n_layers": 2, "use_skip_connections": True},
}
# One model for each part that may be there or not.
VARIANTS = {
    "usual": {},
    "no highway": {"char_cnn": {**BASE["char_cnn"], "n_highway": 0}},
    "no CNN projection": {"lstm": {**BASE["lstm"], "projection_dim": 10, "dim": 12}},
    "no LSTM projection": {"lstm": {**BASE["lstm"], "projection_dim": 7, "dim": 7}},
    "one layer": {"lstm": {**BASE["lstm"], "n_layers": 1}},
    "one direction": {"bidirectional": False},
    "words": {"char_cnn": None, "n_tokens_vocab": 11},
    "one layer, one direction, words, no projection": {
        "char_cnn": None,
        "n_tokens_vocab": 11,
        "bidirectional": False,
        "lstm": {"dim": 5, "projection_dim": 5},
    },
}
variants = pytest.mark.parametrize("variant", VARIANTS)


def options_of(variant):
    return BiLMOptions.from_dict({**BASE, **VARIANTS[variant]})


def random_encoder(options, seed=3):
    torch.manual_seed(seed)
    encoder = build_encoder(options)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_()
    return encoder


def datasets(path):
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, node: found.update({name: node[...]}) if isinstance(node, h5py.Dataset) else None)
    return found


def edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def same(first, second):
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def written(tmp_path):
    options = options_of("usual")
    path = tmp_path / "weights.hdf5"
    write_weights(path, random_encoder(options), options)
    return path, options


@variants
def test_the_table_has_one_row_for_each_parameter(variant):
    options = options_of(variant)
    table = conversion_table(options)
    shapes = {name: tuple(parameter.shape) for name, parameter in build_encoder(options).named_parameters()}
    assert {row.name: row.parameter_shape for row in table} == shapes
    paths = [row.dataset for row in table] + [row.dataset for row in filler_table(options)]
    assert len(set(paths)) == len(paths)


def test_the_paths_and_shapes_are_those_of_bilm_tf():
    table = conversion_table(options_of("usual"))
    shapes = {row.dataset: row.shape for row in table}
    expected = {
        "char_embed": (261, 3),
        "CNN/W_cnn_0": (1, 1, 3, 4),
        "CNN/b_cnn_0": (4,),
        "CNN/W_cnn_1": (1, 2, 3, 6),
        "CNN/b_cnn_1": (6,),
        "CNN_proj/W_proj": (10, 5),
        "CNN_proj/b_proj": (5,),
    }
    for layer in (0, 1):
        expected.update({f"CNN_high_{layer}/W_{kind}": (10, 10) for kind in ("carry", "transform")})
        expected.update({f"CNN_high_{layer}/b_{kind}": (10,) for kind in ("carry", "transform")})
        for direction in (0, 1):
            cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            expected.update({f"{cell}/W_0": (10, 40), f"{cell}/B": (40,), f"{cell}/W_P_0": (10, 5)})
    assert shapes == expected


@variants
def test_weights_survive_being_written_and_read_and_written(tmp_path, variant):
    options = options_of(variant)
    encoder, other = random_encoder(options), random_encoder(options, seed=4)
    first, second = tmp_path / "first.hdf5", tmp_path / "second.hdf5"
    write_weights(first, encoder, options)
    read_weights(first, other, options)
    assert same(encoder, other)
    write_weights(second, other, options)
    ours, theirs = datasets(first), datasets(second)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].dtype == np.float32
        assert ours[name].tobytes() == theirs[name].tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.hdf5", "second.hdf5"]


@pytest.mark.parametrize("row", conversion_table(options_of("usual")) + conversion_table(options_of("words"))[:1])
def test_each_row_moves_its_own_parameter_and_nothing_else(tmp_path, row):
    options = options_of("words" if row.dataset == "embedding" else "usual")
    path = tmp_path / "weights.hdf5"
    encoder = random_encoder(options)
    write_weights(path, encoder, options)
    values = np.random.default_rng(1).standard_normal(row.shape, dtype=np.float32)
    edit(path, lambda file: file[row.dataset].__setitem__(..., values))
    before = copy.deepcopy(encoder.state_dict())
    read_weights(path, encoder, options)
    for name, parameter in encoder.state_dict().items():
        if name == row.name:
            expected = values[0].transpose(2, 1, 0) if row.is_convolution else values
            assert np.array_equal(parameter.numpy(), expected)
        else:
            assert torch.equal(parameter, before[name])


@variants
def test_the_projections_allennlp_requires_are_written_as_identities(tmp_path, variant):
    options = options_of(variant)
    path = tmp_path / "weights.hdf5"
    write_weights(path, random_encoder(options), options)
    found = datasets(path)
    assert options.char_cnn is None or np.array_equal(found["CNN_proj/W_proj"], np.eye(10)) == (
        variant == "no CNN projection"
    )
    cell = "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell"
    if not options.lstm.has_projection:
        assert np.array_equal(found[f"{cell}/W_P_0"], np.eye(options.lstm.dim))


@pytest.mark.parametrize("variant", ["no CNN projection", "no LSTM projection"])
def test_identities_may_be_missing_but_must_be_identities(tmp_path, variant):
    options = options_of(variant)
    path = tmp_path / "weights.hdf5"
    encoder, other = random_encoder(options), random_encoder(options, seed=4)
    write_weights(path, encoder, options)
    filler = filler_table(options)[0].dataset
    edit(path, lambda file: file[filler].__setitem__((0, 1), 0.5))
    with pytest.raises(
        InputError, match=f"dataset `{filler}` must be an identity matrix: with these options the model has no"
    ):
        read_weights(path, other, options)
    for row in filler_table(options):
        edit(path, lambda file, row=row: file.__delitem__(row.dataset))
    read_weights(path, other, options)
    assert same(encoder, other)


@pytest.mark.parametrize(
    "variant, moves",
    [
        ("one layer", {"RNN_{d}/RNN/MultiRNNCell/Cell0/LSTMCell": "RNN_{d}/RNN/LSTMCell"}),
        ("one direction", {"RNN_0/RNN": "RNN"}),
        ("one layer, one direction, words, no projection", {"RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell": "RNN/LSTMCell"}),
    ],
)
def test_other_places_of_the_lstm_are_read(tmp_path, variant, moves):
    options = options_of(variant)
    path = tmp_path / "weights.hdf5"
    encoder, other = random_encoder(options), random_encoder(options, seed=4)
    write_weights(path, encoder, options)
    for direction in range(2 if options.bidirectional else 1):
        for old, new in moves.items():
            edit(path, lambda file, d=direction, old=old, new=new: file.move(old.format(d=d), new.format(d=d)))
    read_weights(path, other, options)
    assert same(encoder, other)


def test_the_names_of_a_dump_of_one_direction_are_read(tmp_path):
    options = options_of("one direction")
    path = tmp_path / "weights.hdf5"
    encoder, other = random_encoder(options), random_encoder(options, seed=4)
    write_weights(path, encoder, options)

    def rename(file):
        for layer in range(2):
            old, new = f"RNN_0/RNN/MultiRNNCell/Cell{layer}/LSTMCell", f"rnn/MultiRNNCell/Cell{layer}/LSTMCell"
            for ours, theirs in (("W_0", "kernel"), ("B", "bias"), ("W_P_0", "projection/kernel")):
                file.move(f"{old}/{ours}", f"{new}/{theirs}")

    edit(path, rename)
    read_weights(path, other, options)
    assert same(encoder, other)


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_other_floating_point_types_are_read(written, dtype):
    path, options = written
    values = np.linspace(-1, 1, 261 * 3).reshape(261, 3).astype(dtype)

    def change(file):
        del file["char_embed"]
        file["char_embed"] = values

    edit(path, change)
    encoder = build_encoder(options)
    read_weights(path, encoder, options)
    assert np.array_equal(encoder.token_encoder.cnn.embedding.detach().numpy(), values.astype(np.float32))


def test_a_model_in_double_precision_reads_and_writes_single(written, tmp_path):
    path, options = written
    encoder = build_encoder(options).double()
    read_weights(path, encoder, options)
    write_weights(tmp_path / "again.hdf5", encoder, options)
    ours, theirs = datasets(path), datasets(tmp_path / "again.hdf5")
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


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


def test_the_vocabulary_of_word_input_is_found_in_the_file(tmp_path, written):
    options = options_of("words")
    path = tmp_path / "words.hdf5"
    write_weights(path, random_encoder(options), options)
    assert read_vocab_size(path) == 11
    with pytest.raises(InputError, match="dataset `embedding`, of two dimensions, is missing"):
        read_vocab_size(written[0])
