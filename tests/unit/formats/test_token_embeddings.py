"""Tables of token embeddings: written, used in place of the character CNN, and refused when damaged or hostile."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.token_embeddings import read_token_embeddings, write_token_embeddings, write_word2vec
from tests.helpers.saved_bilm import SENTENCES, VOCABULARY, saved
from tests.helpers.small_encoders import edit, options_of, random_encoder
from tests.unit.formats.hdf5_changes import external, link, replace, store, virtual


def record_encoded_words(embedder: ElmoEmbedder) -> list[int]:
    """Return a list that grows by the number of words in each call of the token encoder."""
    counts: list[int] = []
    embedder.encoder.token_encoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    return counts


def test_the_table_has_bilm_tfs_layout_and_the_vectors_of_the_characters(tmp_path):
    encoder = random_encoder(options_of("usual"))
    # Small vectors, so that the tolerance below is above the rounding of float32.
    for parameter in encoder.parameters():
        parameter.data.mul_(0.5)
    reports = []
    # More words than are encoded at once.
    words = [*VOCABULARY, *(f"word{number}" for number in range(1100))]
    write_token_embeddings(tmp_path / "table.hdf5", encoder, words, reports.append)
    assert sum(reports) == len(words)
    with h5py.File(tmp_path / "table.hdf5") as file:
        assert file["embedding"].shape == (len(words), 5) and file["embedding"].dtype == np.float32
        table = file["embedding"][...]
    embedder = ElmoEmbedder(encoder)
    # Layer 0 is the token embedding, once per direction; `<S>` and `</S>` have the characters of sentence boundaries.
    for first in (0, 3, 1000):
        vectors = embedder.embed_sentence(words[first : first + 200])[0]
        np.testing.assert_allclose(vectors[:, :5], table[first : first + 200], rtol=0, atol=1e-5)
        np.testing.assert_allclose(vectors[:, 5:], table[first : first + 200], rtol=0, atol=1e-5)


def read_as_fasttext_does(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the words and the vectors of a .vec file, read as fastText's and gensim's readers do: split at spaces alone."""
    with open(path, encoding="utf-8", newline="\n") as file:
        num_words, width = map(int, file.readline().split())
        rows = [line.rstrip("\n").split(" ") for line in file]
    vectors = np.array([row[1:] for row in rows]).astype(np.float32)
    assert vectors.shape == (num_words, width)
    return [row[0] for row in rows], vectors


@pytest.mark.parametrize("variant", ["usual", "words"])
def test_the_text_of_word2vec_has_each_number_exactly(tmp_path, variant, monkeypatch):
    # More words than are encoded at once.
    monkeypatch.setattr("allennlp_elmo_plus.formats.token_embeddings._CHUNK_WORDS", 4)
    encoder = random_encoder(options_of(variant))
    # A no-break space is part of a word.
    words = VOCABULARY if variant == "words" else [*VOCABULARY, "a\u00a0b"]
    reports = []
    write_word2vec(tmp_path / "table.vec", encoder, words, reports.append)
    assert sum(reports) == len(words)
    read_words, vectors = read_as_fasttext_does(tmp_path / "table.vec")
    assert read_words == words
    with torch.no_grad():
        ids = torch.arange(len(words)) if variant == "words" else torch.from_numpy(encode_words(words, 50))
        # Rounding differs by the size of the batch.
        np.testing.assert_allclose(vectors, encoder.token_encoder(ids).numpy(), rtol=1e-5, atol=1e-5)
    if variant == "usual":
        write_token_embeddings(tmp_path / "table.hdf5", encoder, words)
        np.testing.assert_array_equal(vectors, read_token_embeddings(tmp_path / "table.hdf5").vectors.numpy())


def test_gensim_reads_the_text_of_word2vec(tmp_path):
    keyed_vectors = pytest.importorskip("gensim.models").KeyedVectors
    write_word2vec(tmp_path / "table.vec", random_encoder(options_of("usual")), VOCABULARY)
    vectors = keyed_vectors.load_word2vec_format(str(tmp_path / "table.vec"))
    assert vectors.index_to_key == VOCABULARY
    np.testing.assert_array_equal(vectors.vectors, read_as_fasttext_does(tmp_path / "table.vec")[1])


@pytest.mark.parametrize("by_bilm_tf", [False, True])
def test_only_words_outside_of_the_table_are_encoded_from_characters(tmp_path, by_bilm_tf):
    # Small vectors, so that the tolerance below is above the rounding of float32.
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
    counts = record_encoded_words(embedder)
    for ours, theirs in zip(embedder.embed_batch(SENTENCES), plain.embed_batch(SENTENCES), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    # First, words of the table are encoded to check the table. Then the two words outside of it: two long words are truncated to
    # the same characters, and one word is unknown.
    assert counts == [len(VOCABULARY), 2]


def test_a_table_may_be_larger_than_the_cache_of_words(monkeypatch):
    monkeypatch.setattr("allennlp_elmo_plus.modules.encoder.MAX_CACHED_WORDS", 2)
    encoder = random_encoder(options_of("usual")).requires_grad_(False)
    vectors = ElmoEmbedder(encoder).embed_sentence(VOCABULARY)[0][:, :5]
    encoder.cache_words(VOCABULARY, torch.from_numpy(vectors.copy()))
    embedder = ElmoEmbedder(encoder)
    counts = record_encoded_words(embedder)
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


def test_a_table_of_another_size_or_with_missing_parts_is_refused(tmp_path):
    table, encoder = tmp_path / "table.hdf5", random_encoder(options_of("usual"))
    with pytest.raises(InputError, match="the biLM must have character input, got word input"):
        write_token_embeddings(table, random_encoder(options_of("words")), VOCABULARY)
    assert not table.exists()
    write_token_embeddings(table, encoder, VOCABULARY)
    with pytest.raises(InputError, match=r"`vectors` of words to cache must have shape \(11, 7\), got \(11, 5\)"):
        random_encoder(options_of("no LSTM projection")).cache_words(*read_token_embeddings(table))
    edit(table, lambda file: file.__delitem__("words"))
    with pytest.raises(InputError, match="does not hold the words of its rows; give the vocabulary"):
        read_token_embeddings(table)
    with pytest.raises(InputError, match="must have a row for each of the 10 words, got 11 rows"):
        read_token_embeddings(table, VOCABULARY[:-1])
    edit(table, lambda file: file.move("embedding", "other"))
    with pytest.raises(InputError, match="must hold a dataset `embedding` of numbers, one row per word"):
        read_token_embeddings(table)
    table.write_bytes(table.read_bytes()[:200])
    with pytest.raises(InputError, match="must be a whole HDF5 file of token embeddings"):
        read_token_embeddings(table)


def with_value(value):
    """Return a change of the number in row 3, column 2 of the embedding to `value`."""

    def change(file):
        values = file["embedding"][...].astype("f8")
        values[3, 2] = value
        replace("embedding", values)(file)

    return change


def words_of(data, **settings):
    return store("words", data=data, **settings)


TEXT = h5py.string_dtype()


@pytest.mark.parametrize(
    "change, message",
    [
        (
            link("embedding", h5py.ExternalLink("/etc/other.hdf5", "/x")),
            "`embedding` lies behind a link, which is not",
        ),
        (link("embedding", h5py.SoftLink("/moved")), "`embedding` lies behind a link, which is not followed"),
        (link("words", h5py.SoftLink("/moved")), "`words` lies behind a link, which is not followed"),
        (virtual("embedding", "f4"), "`embedding` keeps its data in another file, which is not opened"),
        (virtual("words", TEXT), "`words` keeps its data in another file, which is not opened"),
        (external("embedding"), "`embedding` keeps its data in another file, which is not opened"),
        (
            store("embedding", shape=(2**40, 5)),
            "`embedding` must be stored in full, 21,990,232,555,520 bytes, got 0 in a file of",
        ),
        (
            store("words", shape=(2**40,), dtype=TEXT),
            "`words` must be stored in full, 17,592,186,044,416 bytes, got 0 in a file of",
        ),
        (
            store("words", shape=(2**40,), dtype="S8"),
            "`words` must be stored in full, 8,796,093,022,208 bytes, got 0 in a file of",
        ),
        (
            store("embedding", compression="gzip"),
            "`embedding` must be stored without filters such as compression, got 'def",
        ),
        (
            words_of(np.array([b"word"] * 11), compression="gzip"),
            "`words` must be stored without filters such as compr",
        ),
        (words_of(VOCABULARY, dtype=TEXT, chunks=(11,)), "`words` must be stored contiguously, as h5py does"),
        (store("embedding", data=np.ones((11, 5), "i4")), "`embedding` must hold floating-point numbers, got int32"),
        (words_of(np.arange(11)), "`words` must hold strings in one dimension, got int64"),
        (words_of([VOCABULARY], dtype=TEXT), "`words` must hold strings in one dimension, got object"),
        (words_of(h5py.Empty("S8")), "`words` must hold strings in one dimension, got |S8"),
        (words_of(np.array([b"\xff"] * 11)), "`words` must hold words in UTF-8"),
        (with_value(np.nan), "`embedding` must hold finite numbers of float32, got nan"),
        (with_value(np.inf), "`embedding` must hold finite numbers of float32, got inf"),
        (with_value(1e300), "`embedding` must hold finite numbers of float32, got 1e+300"),
    ],
)
def test_a_hostile_table_is_refused_in_one_line_that_names_the_dataset(tmp_path, change, message):
    table = tmp_path / "table.hdf5"
    write_token_embeddings(table, random_encoder(options_of("usual")), VOCABULARY)
    edit(table, change)
    with pytest.raises(InputError) as error:
        read_token_embeddings(table)
    assert str(error.value).startswith(f"{table}: dataset {message}") and len(str(error.value).splitlines()) == 1


def test_words_that_share_their_bytes_in_the_file_are_refused(tmp_path):
    """Otherwise a small file could allocate any amount of memory for strings."""
    table = tmp_path / "table.hdf5"
    with h5py.File(table, "w") as file:
        file["embedding"] = np.ones((1000, 1), "f4")
        file.create_dataset("words", data=["x" * 50_000, *["y"] * 999], dtype=TEXT)
        offset = file["words"].id.get_offset()
    content = bytearray(table.read_bytes())
    content[offset : offset + 16 * 1000] = content[offset : offset + 16] * 1000
    table.write_bytes(content)
    with pytest.raises(InputError, match="`words` must have strings stored apart, 50,000,000 bytes, got a file of "):
        read_token_embeddings(table)


@pytest.mark.parametrize(
    "old, new, message",
    [
        (b"GCOL", b"GCOX", "in whole heaps of the file, got a damaged one"),
        (b"GCOL\x01\0\0\0\0\x10", b"GCOL\x01\0\0\0\0\xff", "in whole heaps of the file, got a damaged one"),
        # The size and the first characters of the first string.
        (b"\x03" + b"\0" * 7 + b"<S>", b"\x09" + b"\0" * 7 + b"<S>", "in the file, got one that is missing"),
    ],
)
def test_a_damaged_heap_of_words_is_refused(tmp_path, old, new, message):
    table = tmp_path / "table.hdf5"
    write_token_embeddings(table, random_encoder(options_of("usual")), VOCABULARY)
    content = table.read_bytes()
    assert content.count(old) == 1
    table.write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match=f"dataset `words` must have .*{message}"):
        read_token_embeddings(table)


def test_words_in_several_heaps_are_read_as_h5py_reads_them(tmp_path):
    table = tmp_path / "table.hdf5"
    words = ["", *(f"{number}" * (number % 40) + "나비" * (number % 3) for number in range(1, 3000)), "x" * 9000]
    with h5py.File(table, "w") as file:
        file["embedding"] = np.ones((len(words), 1), "f4")
        names = file.create_dataset("words", (len(words),), TEXT)
        for first in range(0, len(words), 500):
            names[first : first + 500] = words[first : first + 500]
        assert names.asstr()[...].tolist() == words
    assert read_token_embeddings(table).words == words


def test_words_stored_in_fixed_length_are_read(tmp_path):
    table = tmp_path / "table.hdf5"
    write_token_embeddings(table, random_encoder(options_of("usual")), VOCABULARY)
    words = [f"word{number}" for number in range(11)]
    edit(table, words_of(np.array(words, "S8")))
    assert read_token_embeddings(table).words == words
