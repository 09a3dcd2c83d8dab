"""The command `elmo-plus cache`, and the uses of its file."""

import shutil

import h5py
import numpy as np
import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.modules.token_embedders import Embedding

from allennlp_elmo_plus.formats.token_embeddings import read_token_embeddings
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.command_line import only_line
from tests.helpers.exported_bilm import LINES, close, ids_of, read_vectors


def test_a_cache_of_words_changes_nothing_but_the_work(bilm, text, tmp_path, run):
    ended = run("elmo-cache", tmp_path / "words.hdf5", "--model", bilm)
    assert ended.out == f"wrote {tmp_path / 'words.hdf5'}: 19 words\n"
    command = ("--all", "--model", bilm)
    run("elmo", text, tmp_path / "plain.hdf5", *command)
    run("elmo", text, tmp_path / "cached.hdf5", *command, "--token-embedding-file", tmp_path / "words.hdf5")
    plain, cached = read_vectors(tmp_path / "plain.hdf5"), read_vectors(tmp_path / "cached.hdf5")
    for key, array in plain.items():
        np.testing.assert_allclose(cached[key], array, rtol=0, atol=1e-5)
    with h5py.File(tmp_path / "words.hdf5", "a") as file:
        file["embedding"][:] += 1
    ended = run("elmo", text, tmp_path / "other.hdf5", *command, "--token-embedding-file", tmp_path / "words.hdf5")
    assert ended.status == 1 and "the cached vectors of words are those of another biLM" in only_line(ended.err)


@pytest.mark.parametrize("name", ["words.vec", "words.TXT"])
def test_a_text_file_is_read_by_allennlps_embedding(bilm, tmp_path, run, name):
    ended = run("elmo-cache", tmp_path / name, "--model", bilm)
    assert ended.out == f"wrote {tmp_path / name}: 19 words\n"
    run("elmo-cache", tmp_path / "words.hdf5", "--model", bilm)
    table = read_token_embeddings(tmp_path / "words.hdf5")
    vocabulary = Vocabulary(tokens_to_add={"tokens": ["Zürich", "나비", "cat"]})
    embedding = Embedding(8, vocab=vocabulary, pretrained_file=str(tmp_path / name))
    for word in ("Zürich", "나비", "cat"):
        row = embedding.weight[vocabulary.get_token_index(word)]
        torch.testing.assert_close(row.detach(), table.vectors[table.words.index(word)], rtol=0, atol=0)


def test_the_name_of_another_format_is_refused(bilm, tmp_path, run):
    ended = run("elmo-cache", tmp_path / "words.csv", "--model", bilm)
    assert ended.status == 1
    rule = "`output_file` must end in .hdf5, .h5, .hdf, .vec, .txt, by its format, or have no suffix, got "
    assert rule in only_line(ended.err)


def test_a_cache_needs_a_vocabulary(bilm, tmp_path, run):
    alone = tmp_path / "alone"
    alone.mkdir()
    pair = ("--options-file", bilm / "options.json", "--weight-file", shutil.copy(bilm / "weights.hdf5", alone))
    ended = run("elmo-cache", tmp_path / "words.hdf5", *pair)
    assert ended.status == 1
    assert only_line(ended.err).endswith("options.json: holds no vocabulary; give one with --vocab-file")
    assert run("elmo-cache", tmp_path / "words.hdf5", "--model", bilm, "--weight-file", "w").status == 2
    assert list(tmp_path.iterdir()) == [alone]
    assert run("elmo-cache", tmp_path / "words.hdf5", *pair, "--vocab-file", bilm / "vocab.txt").status == 0


def test_the_token_embedder_takes_a_cache_of_words(bilm, tmp_path, run):
    run("elmo-cache", tmp_path / "words.hdf5", "--model", bilm)
    files = {"options_file": str(bilm / "options.json"), "weight_file": str(bilm / "weights.hdf5")}
    plain = BilmTokenEmbedder(**files).eval()
    embedder = BilmTokenEmbedder(**files, token_embedding_file=str(tmp_path / "words.hdf5")).eval()
    counts: list[int] = []
    embedder._elmo._encoder.token_encoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    ids = ids_of([sentence.split() for sentence in LINES])
    close(embedder(ids), plain(ids))
    # Only the 16 words that are compared with the table; all words of the text are in the vocabulary.
    assert counts == [16]
    with pytest.raises(
        ConfigurationError, match="`token_embedding_file` brings its own words, got `vocab_to_cache` too"
    ):
        BilmTokenEmbedder(**files, token_embedding_file=str(tmp_path / "words.hdf5"), vocab_to_cache=["the"])
