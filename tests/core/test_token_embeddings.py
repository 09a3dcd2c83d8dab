import h5py
import numpy as np
import pytest
import torch

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.core.errors import InputError
from allennlp_elmo_plus.core.token_embeddings import read_token_embeddings, write_token_embeddings
from allennlp_elmo_plus.core.vocabulary import write_vocabulary
from tests.core.saved_bilm import SENTENCES, VOCABULARY, saved
from tests.core.small_encoders import edit, options_of, random_encoder


def encoded_counts(embedder: ElmoEmbedder) -> list[int]:
    counts: list[int] = []
    embedder.encoder.token_encoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    return counts


def test_the_table_has_bilm_tfs_layout_and_the_vectors_of_the_characters(tmp_path):
    encoder = random_encoder(options_of("usual"))
    # Vectors so small that float32 keeps the digits compared below.
    for parameter in encoder.parameters():
        parameter.data.mul_(0.5)
    advanced = []
    # More than are encoded at once.
    words = [*VOCABULARY, *(f"word{number}" for number in range(1100))]
    write_token_embeddings(tmp_path / "table.hdf5", encoder, words, advanced.append)
    assert sum(advanced) == len(words)
    with h5py.File(tmp_path / "table.hdf5") as file:
        assert file["embedding"].shape == (len(words), 5) and file["embedding"].dtype == np.float32
        table = file["embedding"][...]
    embedder = ElmoEmbedder(encoder)
    # Layer 0 is a word's own vector, once for each direction; `<S>` and `</S>` are spelled as sentence boundaries.
    for first in (0, 3, 1000):
        vectors = embedder.embed_sentence(words[first : first + 200])[0]
        np.testing.assert_allclose(vectors[:, :5], table[first : first + 200], rtol=0, atol=1e-5)
        np.testing.assert_allclose(vectors[:, 5:], table[first : first + 200], rtol=0, atol=1e-5)


@pytest.mark.parametrize("by_bilm_tf", [False, True])
def test_words_in_the_table_need_no_characters_and_others_do(tmp_path, by_bilm_tf):
    # Vectors so small that float32 keeps the digits compared below.
    plain = saved(tmp_path, scale=0.5)
    table = tmp_path / "table.hdf5"
    write_token_embeddings(table, plain.encoder, VOCABULARY)
    if by_bilm_tf:
        edit(table, lambda file: file.__delitem__("words"))
    embedder = ElmoEmbedder.from_pretrained(
        tmp_path / "options.json",
        tmp_path / "weights.hdf5",
        vocab_file=tmp_path / "vocab.txt" if by_bilm_tf else None,
        token_embedding_file=table,
    )
    counts = encoded_counts(embedder)
    for ours, theirs in zip(embedder.embed_batch(SENTENCES), plain.embed_batch(SENTENCES), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    # All words of the table as a sample to compare; then the long one, cut alike twice, and the one unheard of.
    assert counts == [len(VOCABULARY), 2]


def test_a_table_larger_than_the_cache_is_kept_whole(monkeypatch):
    monkeypatch.setattr("allennlp_elmo_plus.core.representation.MAX_CACHED_WORDS", 2)
    encoder = random_encoder(options_of("usual")).requires_grad_(False)
    vectors = ElmoEmbedder(encoder).embed_sentence(VOCABULARY)[0][:, :5]
    encoder.cache_words(VOCABULARY, torch.from_numpy(vectors.copy()))
    embedder = ElmoEmbedder(encoder)
    counts = encoded_counts(embedder)
    embedder.embed_sentence(VOCABULARY[::-1])
    assert counts == [len(VOCABULARY)]


def test_the_table_of_another_bilm_is_refused(tmp_path):
    saved(tmp_path)
    table = tmp_path / "table.hdf5"
    write_token_embeddings(table, random_encoder(options_of("usual"), seed=8), VOCABULARY)
    embedder = ElmoEmbedder.from_pretrained(
        tmp_path / "options.json", tmp_path / "weights.hdf5", token_embedding_file=table
    )
    for _ in range(2):
        with pytest.raises(InputError, match="the cached vectors of words are those of another biLM"):
            embedder.embed_batch(SENTENCES)


def test_a_table_that_is_none_is_refused(tmp_path):
    table, encoder = tmp_path / "table.hdf5", random_encoder(options_of("usual"))
    with pytest.raises(InputError, match="the biLM must read characters to have vectors of words to keep"):
        write_token_embeddings(table, random_encoder(options_of("words")), VOCABULARY)
    assert not table.exists()
    write_token_embeddings(table, encoder, VOCABULARY)
    with pytest.raises(InputError, match=r"`vectors` of words to cache must have shape \(11, 7\), got \(11, 5\)"):
        random_encoder(options_of("no LSTM projection")).cache_words(*read_token_embeddings(table))
    edit(table, lambda file: file.__delitem__("words"))
    with pytest.raises(InputError, match="does not say which words its rows are; give the vocabulary"):
        read_token_embeddings(table)
    write_vocabulary(tmp_path / "short.txt", VOCABULARY[:-1])
    with pytest.raises(InputError, match="must have a row for each of the 10 words, got 11 rows"):
        read_token_embeddings(table, tmp_path / "short.txt")
    edit(table, lambda file: file.move("embedding", "other"))
    with pytest.raises(InputError, match="must hold a dataset `embedding` of numbers, one row a word"):
        read_token_embeddings(table)
    table.write_bytes(table.read_bytes()[:200])
    with pytest.raises(InputError, match="must be a whole HDF5 file of token embeddings"):
        read_token_embeddings(table)
