"""The directories in which bilm-tf trains, read without TensorFlow."""

import json
import logging
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.data.text.vocabulary import write_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_checkpoint import read_adagrad_sums, read_parameters
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import read_parameters as read_hdf5
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.bilm_tf_directories import tensors_of, write_training_directory
from tests.helpers.small_models import VOCABULARY, small_model, small_options

CASES = {
    "characters": {},
    "words": {"char_cnn": None},
    "shared": {"char_cnn": None, "share_embedding_softmax": True},
    "one direction": {"bidirectional": False},
    "one layer": {"lstm": {"dim": 9, "projection_dim": 5}},
    "one layer of one direction": {"lstm": {"dim": 9, "projection_dim": 5}, "bidirectional": False},
    "no projection": {"lstm": {"dim": 5, "projection_dim": 5, "n_layers": 2}},
}


@pytest.fixture
def sample(shared_data: Path) -> Path:
    """Return the directory of a small model that bilm-tf trained, with what bilm-tf made of it in `answers`."""
    directory = shared_data / "released_formats" / "bilm_tf_checkpoint"
    if not directory.is_dir():
        pytest.skip(f"the sample of bilm-tf is absent: {directory}")
    return directory


@pytest.mark.parametrize("case", CASES)
def test_every_weight_and_sum_is_read(tmp_path, case):
    model = small_model(**CASES[case])
    write_training_directory(tmp_path, model, small_options(**CASES[case]), VOCABULARY)
    stored = read_model(ModelSource(tmp_path), with_adagrad_sums=True)
    expected = {name: parameter.detach().float() for name, parameter in model.named_parameters()}
    assert stored.weights.keys() == expected.keys() == stored.adagrad_sums.keys()
    for name, value in expected.items():
        torch.testing.assert_close(stored.weights[name], value, rtol=0, atol=0)
        torch.testing.assert_close(stored.adagrad_sums[name], 1 + value**2, rtol=0, atol=0)
    assert stored.vocabulary == VOCABULARY


def test_weights_are_those_of_bilm_tfs_dump(sample):
    options = BiLMOptions.from_file(sample / "options.json", inference=False)
    weights, dumped = (
        read_parameters(sample, options, 2770),
        read_hdf5(sample / "answers" / "weights.hdf5", options, None),
    )
    assert weights.keys() - dumped.keys() == {"softmax.weight", "softmax.bias"}
    assert all(torch.equal(weights[name], value) for name, value in dumped.items())
    sums = read_adagrad_sums(sample, options, 2770)
    assert sums.keys() == weights.keys() and all((value >= 1).all() for value in sums.values())
    assert not read_parameters(sample, options, None).keys() - dumped.keys()


def test_vectors_are_those_of_bilm_tf(sample):
    sentences = [line.split() for line in (sample / "answers" / "heldout.txt").read_text("utf-8").splitlines()[:6]]
    embedder = ElmoEmbedder.from_pretrained(sample)
    with h5py.File(sample / "answers" / "vectors.hdf5") as file:
        for number, vectors in enumerate(embedder.embed_batch(sentences)):
            np.testing.assert_allclose(vectors, file[str(number)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["model.ckpt-7", "/data/models/model.ckpt-7", "C:\\\\models\\\\model.ckpt-7"])
def test_the_newest_checkpoint_is_read_beside_the_file_that_names_it(tmp_path, name):
    model, options = small_model(), small_options()
    write_training_directory(tmp_path, model, options, VOCABULARY, "model.ckpt-7")
    with torch.no_grad():
        model.softmax.bias.add_(1)
    write_training_directory(tmp_path, model, options, VOCABULARY, "model.ckpt-4")
    (tmp_path / "checkpoint").write_text(
        f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "model.ckpt-4"\n'
    )
    bias = read_model(ModelSource(tmp_path)).weights["softmax.bias"]
    torch.testing.assert_close(bias, model.softmax.bias.detach().float() - 1)


def test_which_checkpoint_must_be_clear(tmp_path):
    for name in ("model.ckpt-7", "model.ckpt-4"):
        write_training_directory(tmp_path, small_model(), small_options(), VOCABULARY, name)
    state = tmp_path / "checkpoint"
    for content, name in (('model_checkpoint_path: "model.ckpt-9"', "'model.ckpt-9'"), ("", "''"), ('x"\n', "''")):
        state.write_text(content)
        with pytest.raises(
            InputError, match=rf"checkpoint: must name a checkpoint whose .index is beside it, got {name}$"
        ):
            read_model(ModelSource(tmp_path))
    state.unlink()
    with pytest.raises(InputError, match=r": without the file `checkpoint` must hold one \*.index, got 2$"):
        read_model(ModelSource(tmp_path))


def test_without_its_vocabulary_it_gives_vectors_and_no_scores(tmp_path):
    write_training_directory(tmp_path, small_model(), small_options(), VOCABULARY)
    (tmp_path / "vocab.txt").unlink()
    assert ElmoEmbedder.from_pretrained(tmp_path).embed_sentence(["the"]).shape == (3, 1, 10)
    with pytest.raises(InputError, match=r"needs its vocabulary, a `vocab.txt` beside it or `--vocab-file` .* softmax"):
        read_model(ModelSource(tmp_path))
    write_vocabulary(tmp_path / "other.txt", VOCABULARY)
    assert "softmax.bias" in read_model(ModelSource(tmp_path, vocab_file=tmp_path / "other.txt")).weights
    write_vocabulary(tmp_path / "vocab.txt", VOCABULARY[:-1])
    with pytest.raises(
        InputError, match=r"tensor `lm/softmax/W` must have shape \(11, 5\) by the options, got \(12, 5\)"
    ):
        read_model(ModelSource(tmp_path))


def test_a_tensor_that_the_options_ask_for_is_named_where_it_is_missing(tmp_path, caplog):
    write_training_directory(tmp_path, small_model(), small_options(), VOCABULARY)
    mapping = json.loads((tmp_path / "options.json").read_text())
    mapping["lstm"]["n_layers"] = 3
    (tmp_path / "options.json").write_text(json.dumps(mapping))
    with pytest.raises(
        InputError, match=re.escape("the tensor of `RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/W_0` is missing")
    ):
        read_model(ModelSource(tmp_path))
    mapping["lstm"]["n_layers"] = 1
    (tmp_path / "options.json").write_text(json.dumps(mapping))
    with caplog.at_level(logging.WARNING):
        assert "bilm.forward_layers.0.kernel" in read_model(ModelSource(tmp_path), with_softmax=False).weights
    assert "not used, by the options: lm/RNN_0/rnn/multi_rnn_cell/cell_1/lstm_cell/bias" in caplog.text


def test_sums_are_left_out_where_one_is_missing_and_refused_where_one_is_not_above_zero(tmp_path):
    model, options = small_model(), small_options()
    tensors = tensors_of(model, options)
    del tensors["lm/char_embed/Adagrad"]
    write_training_directory(tmp_path, model, options, VOCABULARY, tensors=tensors)
    assert read_model(ModelSource(tmp_path), with_adagrad_sums=True).adagrad_sums == {}
    tensors = tensors_of(model, options)
    tensors["lm/softmax/b/Adagrad"][3] = 0
    write_training_directory(tmp_path, model, options, VOCABULARY, tensors=tensors)
    with pytest.raises(InputError, match="tensor `lm/softmax/b/Adagrad` must hold finite sums above 0"):
        read_model(ModelSource(tmp_path), with_adagrad_sums=True)
    assert read_model(ModelSource(tmp_path)).adagrad_sums == {}
