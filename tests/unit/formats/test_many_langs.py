"""Models of ELMoForManyLangs: vectors as of the program itself and of a plain definition, and damaged models refused."""

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.formats.many_langs import is_many_langs, read_many_langs, read_options, read_vocabulary
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import (
    load_encoder,
    load_language_model,
    read_encoder,
    read_model,
)
from tests.helpers.many_langs_models import CHARACTERS, CONFIG, SENTENCES, VARIANTS, WORDS, write_model
from tests.helpers.small_encoders import options_of, random_encoder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    return tmp_path / "model"


def refusal(directory: Path) -> str:
    with pytest.raises(InputError) as error:
        read_many_langs(directory)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_vectors_are_those_of_the_program(shared_data: Path) -> None:
    directory = shared_data / "released_formats" / "efml"
    sentences = json.loads((directory / "answers" / "sentences.json").read_text(encoding="utf-8"))
    embedded = ElmoEmbedder.from_pretrained(directory).embed_batch(sentences)
    with h5py.File(directory / "answers" / "vectors.hdf5") as answers:
        for number, vectors in enumerate(embedded):
            np.testing.assert_allclose(vectors, answers[str(number)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_vectors_are_those_of_the_definition(variant: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", variant)
    embedder = ElmoEmbedder.from_pretrained(tmp_path / "model")
    # In one batch, and again from the cache of words.
    for _ in range(2):
        for sentence, vectors in zip(SENTENCES, embedder.embed_batch(SENTENCES), strict=True):
            np.testing.assert_allclose(vectors, model.vectors(sentence).numpy(), rtol=0, atol=1e-5)
    assert embedder.embed_sentence([]).shape == (3, 0, embedder.output_size)


def test_the_words_around_a_sentence_are_read_as_such(directory: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "again")
    sentence = ["the", "<eos>", "<bos>", "<S>", "</S>"]
    vectors = ElmoEmbedder.from_pretrained(directory).embed_sentence(sentence)
    np.testing.assert_allclose(vectors, model.vectors(sentence).numpy(), rtol=0, atol=1e-5)


def test_both_formats_of_state_dicts_are_read(directory: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "zip", _use_new_zipfile_serialization=True)
    old, new = read_many_langs(directory).weights, read_many_langs(tmp_path / "zip").weights
    assert old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in old)


def test_a_config_is_looked_for_in_the_directory_and_then_among_the_shipped_ones(directory: Path) -> None:
    assert is_many_langs(directory) and not is_many_langs(directory / "cfg.json")
    assert read_options(directory).projection_dim == 6
    outside = directory.parent / "cfg.json"
    shutil.move(directory / "cfg.json", outside)
    (directory / "config.json").write_text(json.dumps({"config_path": str(outside)}))
    with pytest.raises(InputError, match="config.json: `config_path` must name a file that lies beside it, or cnn_50"):
        read_options(directory)
    for name, char_dim in (("cnn_50_100_512_4096_sample.json", 50), ("cnn_0_100_512_4096_sample.json", 0)):
        (directory / "config.json").write_text(json.dumps({"config_path": f"../configs/{name}"}))
        options = read_options(directory)
        assert (options.char_dim, options.word_dim, options.dim, options.projection_dim) == (char_dim, 100, 4096, 512)
    shutil.move(outside, directory / "config.json")
    assert read_options(directory).projection_dim == 6


def test_other_options_are_refused(directory: Path, tmp_path: Path) -> None:
    options = read_options(directory)
    assert load_encoder(options, directory).num_layers == load_encoder(options, None).num_layers == 3
    config = {**CONFIG, "encoder": {**CONFIG["encoder"], "cell_clip": 2}}
    (directory / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(InputError) as error:
        load_encoder(options, directory)
    assert str(error.value) == f"{directory}: its options must be those of `options`: `encoder.cell_clip` 0.3, got 2"
    write_pair(tmp_path / "bilm")
    for other, source in ((options, tmp_path / "bilm"), (options_of("usual"), directory)):
        with pytest.raises(InputError, match="must be a model of the kind that `options` describe, got another kind"):
            load_encoder(other, source)


def write_pair(directory: Path) -> None:
    directory.mkdir()
    options = options_of("usual")
    (directory / "options.json").write_text(json.dumps(options.to_dict()))
    write_weights(directory / "weights.hdf5", random_encoder(options), options)


def test_a_zip_is_read_as_its_directory(directory: Path, tmp_path: Path) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "179"), "zip", directory.parent, directory.name))
    unpacked, packed = (read_encoder(ModelSource(source)).encoder.state_dict() for source in (directory, path))
    assert all(torch.equal(unpacked[name], packed[name]) for name in unpacked)
    assert read_vocabulary(path).words == read_vocabulary(directory).words == WORDS
    (directory / "word.dic").unlink()
    path = Path(shutil.make_archive(str(tmp_path / "179"), "zip", directory))
    for read in (read_vocabulary, lambda path: read_encoder(ModelSource(path))):
        with pytest.raises(InputError, match="^" + re.escape(f"{path}/word.dic: the vocabulary cannot be read")):
            read(path)


def test_only_vectors_can_be_had(directory: Path, tmp_path: Path) -> None:
    for read in (load_language_model, lambda path: read_model(ModelSource(path), with_softmax=False)):
        with pytest.raises(
            InputError, match="must be a biLM of bilm-tf, got one of ELMoForManyLangs, which gives vectors"
        ):
            read(directory)
    (tmp_path / "vocab.txt").write_text("<S>\n</S>\n<UNK>\n")
    with pytest.raises(
        InputError, match="vocab.txt: goes with a model of bilm-tf, got .*model, one of ELMoForManyLangs"
    ):
        ElmoEmbedder.from_pretrained(directory, vocab_file=tmp_path / "vocab.txt")


@pytest.mark.parametrize(
    "content, message",
    [
        ("a\t0\nb\n", "line 2: must be a token, a tab and an id below 2 that no other line has, got 'b'"),
        ("a\t0\nb\t0\n", "line 2: must be a token, a tab and an id below 2 that no other line has, got 'b"),
        ("a\t0\nb\t2\n", "line 2: must be a token, a tab and an id below 2"),
        ("a\t0\nb\t-1\n", "line 2: must be a token, a tab and an id below 2"),
        ("a\t0\tb\t1\n", "line 1: must be a token, a tab and an id below 1"),
        ("a\t0\na\t1\n", "must hold each token once, got 1 twice"),
        ("a\t" + 5000 * "1" + "\n", "line 1: must be a token, a tab and an id below 1"),
        (b"\xff\t0\n", "line 1: byte 0xff is not UTF-8"),
    ],
)
def test_a_damaged_dictionary_is_refused(content: str | bytes, message: str, directory: Path) -> None:
    path = directory / "word.dic"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refusal(directory).startswith(f"{path}") and message in refusal(directory)


@pytest.mark.parametrize("name, tokens", [("word.dic", WORDS), ("char.dic", CHARACTERS)])
def test_a_dictionary_without_its_special_tokens_is_refused(name: str, tokens: list[str], directory: Path) -> None:
    lines = [f"{token}\t{number}\n" for number, token in enumerate([token for token in tokens if token != "<oov>"])]
    (directory / name).write_text("".join(lines), encoding="utf-8")
    assert "must hold <oov>" in refusal(directory) and refusal(directory).endswith("got none for <oov>")


def test_a_missing_file_is_named(directory: Path) -> None:
    (directory / "word.dic").unlink()
    assert refusal(directory) == f"{directory / 'word.dic'}: the vocabulary cannot be read (No such file or directory)"


def test_weights_of_another_size_are_refused(directory: Path) -> None:
    config = {**CONFIG, "encoder": {**CONFIG["encoder"], "dim": 60000}}
    (directory / "cfg.json").write_text(json.dumps(config))
    message = (
        "encoder.pkl: `forward_layer_0.input_linearity.weight` must have shape (240000, 6) by the options, got (40, 6)"
    )
    assert refusal(directory) == f"{directory}/{message}"


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    model.encoder.forward_layer_0.state_linearity.bias.data[3] = torch.nan
    torch.save(model.encoder.state_dict(), tmp_path / "model" / "encoder.pkl")
    with pytest.raises(InputError, match="`bilm.forward_layers.0.bias` must hold finite numbers"):
        read_many_langs(tmp_path / "model").build_encoder()
