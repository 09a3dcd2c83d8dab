import h5py
import numpy as np
import pytest
import torch

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.token_embeddings import read_token_embeddings, write_token_embeddings
from tests.helpers.saved_bilm import SENTENCES, VOCABULARY, saved
from tests.helpers.small_encoders import edit, options_of, random_encoder


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
    monkeypatch.setattr("allennlp_elmo_plus.modules.encoder.MAX_CACHED_WORDS", 2)
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


def anew(name, **settings):
    """A change that stores the dataset `name` in another way; `data`, of 11 rows, in place of its values."""

    def change(file):
        data = file[name][...]
        del file[name]
        file.create_dataset(name, **{"data": data, **settings})

    return change


def behind(name, link):
    def change(file):
        file.move(name, "real")
        file[name] = link

    return change


def virtual(name, dtype):
    def change(file):
        file.move(name, "real")
        layout = h5py.VirtualLayout(file["real"].shape, dtype)
        layout[...] = h5py.VirtualSource("/etc/other.hdf5", name, file["real"].shape)
        file.create_virtual_dataset(name, layout)

    return change


def external(name):
    def change(file):
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])

    return change


def with_value(value):
    def change(file):
        values = file["embedding"][...].astype("f8")
        values[3, 2] = value
        anew("embedding", data=values)(file)

    return change


def claimed(name, dtype):
    def change(file):
        del file[name]
        file.create_dataset(name, (2**40, 5)[: 2 if name == "embedding" else 1], dtype)

    return change


def words_of(data, **settings):
    return anew("words", data=data, **settings)


TEXT = h5py.string_dtype()


@pytest.mark.parametrize(
    "change, message",
    [
        (
            behind("embedding", h5py.ExternalLink("/etc/other.hdf5", "/x")),
            "`embedding` lies behind a link, which is not",
        ),
        (behind("embedding", h5py.SoftLink("/real")), "`embedding` lies behind a link, which is not followed"),
        (behind("words", h5py.SoftLink("/real")), "`words` lies behind a link, which is not followed"),
        (virtual("embedding", "f4"), "`embedding` keeps its data in another file, which is not opened"),
        (virtual("words", TEXT), "`words` keeps its data in another file, which is not opened"),
        (external("embedding"), "`embedding` keeps its data in another file, which is not opened"),
        (
            claimed("embedding", "f4"),
            "`embedding` must be stored in full, 21,990,232,555,520 bytes, got 0 in a file of",
        ),
        (claimed("words", TEXT), "`words` must be stored in full, 17,592,186,044,416 bytes, got 0 in a file of"),
        (claimed("words", "S8"), "`words` must be stored in full, 8,796,093,022,208 bytes, got 0 in a file of"),
        (
            anew("embedding", compression="gzip"),
            "`embedding` must be stored without filters such as compression, got 'def",
        ),
        (
            words_of(np.array([b"word"] * 11), compression="gzip"),
            "`words` must be stored without filters such as compr",
        ),
        (words_of(VOCABULARY, dtype=TEXT, chunks=(11,)), "`words` must be stored contiguously, as h5py does"),
        (anew("embedding", data=np.ones((11, 5), "i4")), "`embedding` must hold floating-point numbers, got int32"),
        (words_of(np.arange(11)), "`words` must hold strings in one dimension, got int64"),
        (words_of([VOCABULARY], dtype=TEXT), "`words` must hold strings in one dimension, got object"),
        (words_of(h5py.Empty("S8")), "`words` must hold strings in one dimension, got |S8"),
        (words_of(np.array([b"\xff"] * 11)), "`words` must hold words in UTF-8"),
        (with_value(np.nan), "`embedding` must hold finite numbers of float32, got nan"),
        (with_value(np.inf), "`embedding` must hold finite numbers of float32, got inf"),
        (with_value(1e300), "`embedding` must hold finite numbers of float32, got 1e+300"),
    ],
)
def test_a_table_is_checked_as_weights_are(tmp_path, change, message):
    table = tmp_path / "table.hdf5"
    write_token_embeddings(table, random_encoder(options_of("usual")), VOCABULARY)
    edit(table, change)
    with pytest.raises(InputError) as error:
        read_token_embeddings(table)
    assert str(error.value).startswith(f"{table}: dataset {message}") and len(str(error.value).splitlines()) == 1


def test_words_that_lie_in_one_place_are_not_read_many_times(tmp_path):
    """A small file would otherwise become strings of any size together."""
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
        # The size of the first string and its beginning.
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


def test_words_in_many_heaps_are_those_that_h5py_reads(tmp_path):
    table = tmp_path / "table.hdf5"
    words = ["", *(f"{number}" * (number % 40) + "나비" * (number % 3) for number in range(1, 3000)), "x" * 9000]
    with h5py.File(table, "w") as file:
        file["embedding"] = np.ones((len(words), 1), "f4")
        names = file.create_dataset("words", (len(words),), TEXT)
        for first in range(0, len(words), 500):
            names[first : first + 500] = words[first : first + 500]
        assert names.asstr()[...].tolist() == words
    assert read_token_embeddings(table).words == words


def test_words_of_one_length_are_read(tmp_path):
    table = tmp_path / "table.hdf5"
    write_token_embeddings(table, random_encoder(options_of("usual")), VOCABULARY)
    words = [f"word{number}" for number in range(11)]
    edit(table, words_of(np.array(words, "S8")))
    assert read_token_embeddings(table).words == words
