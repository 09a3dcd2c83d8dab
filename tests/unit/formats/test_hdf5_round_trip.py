"""weights.hdf5 is read and written without loss, also in the variants that bilm-tf and AllenNLP write."""

import copy

import h5py
import numpy as np
import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import read_vocab_size, write_weights
from allennlp_elmo_plus.formats.name_table import conversion_table, placeholder_table
from allennlp_elmo_plus.modules.build import build_encoder
from tests.helpers.small_encoders import (
    edit,
    options_of,
    random_encoder,
    read_weights,
    variants,
)
from tests.unit.formats.hdf5_changes import replace


def read_datasets(path):
    datasets = {}

    def add(name, node):
        if isinstance(node, h5py.Dataset):
            datasets[name] = node[...]

    with h5py.File(path, "r") as file:
        file.visititems(add)
    return datasets


def have_same_weights(first, second):
    first_state, second_state = first.state_dict(), second.state_dict()
    return first_state.keys() == second_state.keys() and all(
        torch.equal(value, second_state[name]) for name, value in first_state.items()
    )


@variants
def test_weights_that_are_written_read_and_written_again_are_the_same(tmp_path, variant):
    options = options_of(variant)
    encoder, other = random_encoder(options), random_encoder(options, seed=4)
    first, second = tmp_path / "first.hdf5", tmp_path / "second.hdf5"
    write_weights(first, encoder, options)
    read_weights(first, other, options)
    assert have_same_weights(encoder, other)
    write_weights(second, other, options)
    first_datasets, second_datasets = read_datasets(first), read_datasets(second)
    assert first_datasets.keys() == second_datasets.keys()
    for name in first_datasets:
        assert first_datasets[name].dtype == np.float32
        assert first_datasets[name].tobytes() == second_datasets[name].tobytes()
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


def test_the_projections_allennlp_requires_are_written_as_identities(tmp_path):
    """AllenNLP applies a projection that the model does not have. With an identity and zeros it changes nothing."""
    options = options_of("no CNN projection")
    write_weights(tmp_path / "cnn.hdf5", random_encoder(options), options)
    datasets = read_datasets(tmp_path / "cnn.hdf5")
    assert np.array_equal(datasets["CNN_proj/W_proj"], np.eye(10))
    assert np.array_equal(datasets["CNN_proj/b_proj"], np.zeros(10))

    options = options_of("no LSTM projection")
    write_weights(tmp_path / "lstm.hdf5", random_encoder(options), options)
    datasets = read_datasets(tmp_path / "lstm.hdf5")
    projections = [values for name, values in datasets.items() if name.endswith("W_P_0")]
    assert len(projections) == 2 * options.lstm.n_layers
    assert all(np.array_equal(values, np.eye(options.lstm.dim)) for values in projections)


@pytest.mark.parametrize("variant", ["no CNN projection", "no LSTM projection"])
def test_identities_may_be_missing_but_must_be_identities(tmp_path, variant):
    options = options_of(variant)
    path = tmp_path / "weights.hdf5"
    encoder, other = random_encoder(options), random_encoder(options, seed=4)
    write_weights(path, encoder, options)
    for row in placeholder_table(options):
        kind = "an identity matrix" if len(row.shape) == 2 else "zeros"
        values = read_datasets(path)[row.dataset]
        edit(path, lambda file, row=row: file[row.dataset].__setitem__((0, 1)[: len(row.shape)], 0.5))
        with pytest.raises(
            InputError, match=f"dataset `{row.dataset}` must be {kind}: with these options the model has no"
        ):
            read_weights(path, other, options)
        edit(path, lambda file, row=row, values=values: file[row.dataset].__setitem__(..., values))
    for row in placeholder_table(options):
        edit(path, lambda file, row=row: file.__delitem__(row.dataset))
    read_weights(path, other, options)
    assert have_same_weights(encoder, other)


@pytest.mark.parametrize(
    "variant, renames",
    [
        ("one layer", {"RNN_{d}/RNN/MultiRNNCell/Cell0/LSTMCell": "RNN_{d}/RNN/LSTMCell"}),
        ("one direction", {"RNN_0/RNN": "RNN"}),
        ("one layer, one direction, words, no projection", {"RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell": "RNN/LSTMCell"}),
    ],
)
def test_other_names_of_the_lstms_group_are_read(tmp_path, variant, renames):
    options = options_of(variant)
    path = tmp_path / "weights.hdf5"
    encoder, other = random_encoder(options), random_encoder(options, seed=4)
    write_weights(path, encoder, options)
    for direction in range(2 if options.bidirectional else 1):
        for old, new in renames.items():
            edit(path, lambda file, d=direction, old=old, new=new: file.move(old.format(d=d), new.format(d=d)))
    read_weights(path, other, options)
    assert have_same_weights(encoder, other)


def test_the_names_of_a_dumped_forward_model_are_read(tmp_path):
    options = options_of("one direction")
    path = tmp_path / "weights.hdf5"
    encoder, other = random_encoder(options), random_encoder(options, seed=4)
    write_weights(path, encoder, options)

    def rename(file):
        for layer in range(2):
            old, new = f"RNN_0/RNN/MultiRNNCell/Cell{layer}/LSTMCell", f"rnn/MultiRNNCell/Cell{layer}/LSTMCell"
            for old_name, new_name in (("W_0", "kernel"), ("B", "bias"), ("W_P_0", "projection/kernel")):
                file.move(f"{old}/{old_name}", f"{new}/{new_name}")

    edit(path, rename)
    read_weights(path, other, options)
    assert have_same_weights(encoder, other)


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_other_floating_point_types_are_read(weights_file, dtype):
    path, options = weights_file
    values = np.linspace(-1, 1, 261 * 3).reshape(261, 3).astype(dtype)
    edit(path, replace("char_embed", values))
    encoder = build_encoder(options)
    read_weights(path, encoder, options)
    assert np.array_equal(encoder.token_encoder.cnn.embedding.detach().numpy(), values.astype(np.float32))


def test_a_model_in_float64_reads_and_writes_float32(weights_file, tmp_path):
    path, options = weights_file
    encoder = build_encoder(options).double()
    read_weights(path, encoder, options)
    write_weights(tmp_path / "again.hdf5", encoder, options)
    first_datasets, second_datasets = read_datasets(path), read_datasets(tmp_path / "again.hdf5")
    assert all(first_datasets[name].tobytes() == second_datasets[name].tobytes() for name in first_datasets)


def test_the_vocabulary_size_of_word_input_is_read_from_the_file(tmp_path, weights_file):
    options = options_of("words")
    path = tmp_path / "words.hdf5"
    write_weights(path, random_encoder(options), options)
    assert read_vocab_size(path) == 11
    with pytest.raises(InputError, match="dataset `embedding`, of two dimensions, is missing"):
        read_vocab_size(weights_file[0])
