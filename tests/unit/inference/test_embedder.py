"""ElmoEmbedder: the vectors of sentences, compared with those of the encoder, and the files that it is made from."""

import itertools
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.data.batching.sentence_packing import SentenceLayout
from allennlp_elmo_plus.data.batching.sentences import batches_by_length, chunks_of_sentences
from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.chunks import PackedSentences, run_in_chunks
from allennlp_elmo_plus.modules.layer_mix import LayerMix
from tests.helpers.bfloat16 import use_bfloat16
from tests.helpers.saved_bilm import SENTENCES, VOCABULARY, saved
from tests.helpers.small_encoders import options_of, random_encoder, variants

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=6)


def embedder_of(variant: str, batch_size: int = 2048) -> ElmoEmbedder:
    options = options_of(variant)
    return ElmoEmbedder(random_encoder(options).double(), VOCABULARY if options.char_cnn is None else None, batch_size)


def encoded(embedder: ElmoEmbedder, sentence: list[str]) -> torch.Tensor:
    """Return the layers of one sentence, (L + 1, T, output size), as the encoder computes them for a batch of one."""
    encoder = embedder.encoder
    if encoder.max_characters is None:
        word_ids = [VOCABULARY.index(word) if word in VOCABULARY else 2 for word in sentence]
        ids = torch.tensor([word_ids], dtype=torch.int64).reshape(1, -1) + 1
    else:
        ids = torch.from_numpy(encode_words(sentence, encoder.max_characters)).long().unsqueeze(0)
    representation = encoder(ids)
    return torch.stack([representation.layout.unpack(layer)[0] for layer in representation.layers]).detach()


@variants
@pytest.mark.parametrize("batch_size", [1, 7, 2048])
def test_vectors_are_those_of_the_encoder_for_every_batch_size(variant, batch_size):
    embedder = embedder_of(variant, batch_size)
    for sentence, vectors in zip(SENTENCES, embedder.embed_batch(SENTENCES), strict=True):
        assert vectors.shape == (embedder.num_layers, len(sentence), embedder.output_size)
        if sentence:
            np.testing.assert_allclose(vectors, encoded(embedder, sentence).numpy(), rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, max_rows=st.integers(1, 12), bidirectional=st.booleans())
def test_layers_computed_in_chunks_with_carried_state_are_those_computed_at_once(lengths, max_rows, bidirectional):
    encoder = random_encoder(options_of("usual" if bidirectional else "one direction")).double()
    layout = SentenceLayout.of_lengths(lengths, max(lengths), torch.device("cpu"))
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(7, encoder.bilm.output_size, dtype=torch.float64, generator=generator)
    forward_rows = torch.randint(7, (len(layout.word_of_row),), generator=generator)
    backward_rows = forward_rows[layout.reversal] if bidirectional else None
    with torch.no_grad():
        at_once = encoder.bilm(
            vectors[forward_rows], None if backward_rows is None else vectors[backward_rows], layout.batch_sizes
        )
        packed = PackedSentences(layout, vectors, forward_rows, backward_rows)
        chunks = list(run_in_chunks(encoder.bilm, packed, max_rows))
    widest = max(layout.batch_sizes)
    assert all(chunk.rows.stop - chunk.rows.start <= max(max_rows, widest) for chunk in chunks)
    assert [row for chunk in chunks for row in range(chunk.rows.start, chunk.rows.stop)] == list(
        range(len(forward_rows))
    )
    for direction in ("forward", "backward") if bidirectional else ("forward",):
        for layer, expected in enumerate(getattr(at_once, direction)):
            in_chunks = torch.cat([getattr(chunk.output, direction)[layer] for chunk in chunks])
            torch.testing.assert_close(in_chunks, expected, rtol=0, atol=1e-12)


def test_a_long_sentence_passes_the_lstm_in_chunks_of_the_batch_size():
    embedder = embedder_of("usual", batch_size=10)
    sizes = []
    embedder.encoder.bilm.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    long = list(itertools.islice(itertools.cycle(SENTENCES[3]), 95))
    vectors = embedder.embed_sentence(long)
    # 95 words, `<S>` and `</S>`.
    assert sizes == [10] * 9 + [7]
    np.testing.assert_allclose(vectors, encoded(embedder, long).numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", ["usual", "one direction"])
def test_the_top_layer_the_average_the_sum_and_a_mix_are_those_of_all_layers(variant):
    embedder = embedder_of(variant, batch_size=5)
    weights = (0.5, -2.0, 3.0)
    for sentence in SENTENCES:
        layers = embedder.embed_sentence(sentence)
        for choice, expected in (
            ("top", layers[-1]),
            ("average", layers.mean(axis=0)),
            ("sum", layers.sum(axis=0)),
            (LayerMix(weights), np.tensordot(weights, layers, axes=1)),
        ):
            vectors = embedder.embed_sentence(sentence, choice)
            assert vectors.shape == (len(sentence), embedder.output_size)
            np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "layers, message",
    [
        ("mean", '`layers` must be "all", "top", "average", "sum", the number of a layer or a LayerMix, got \'mean\''),
        (LayerMix((1.0, 2.0)), "a mix of this biLM must have 3 weights, one per layer, got 2"),
    ],
)
def test_another_choice_of_layers_is_refused_before_any_sentence_is_read(layers, message):
    with pytest.raises(InputError, match=message):
        embedder_of("usual").embed_sentences([["the"]], layers)


def test_an_endless_stream_of_sentences_is_embedded_in_order_with_few_sentences_read_ahead():
    embedder = embedder_of("usual", batch_size=20)
    read = []

    def sentences():
        for sentence in itertools.cycle(SENTENCES):
            read.append(sentence)
            yield sentence

    for number, vectors in enumerate(itertools.islice(embedder.embed_sentences(sentences()), 60)):
        assert vectors.shape[1] == len(SENTENCES[number % len(SENTENCES)])
        ahead = read[number:]
        assert sum(len(sentence) + 2 for sentence in ahead[:-1]) <= 8 * 20


@settings(max_examples=50, deadline=None)
@given(lengths=LENGTHS, max_tokens=st.integers(1, 30))
def test_windows_and_batches_hold_each_sentence_once_and_at_most_max_tokens(lengths, max_tokens):
    sentences = [["w"] * length for length in lengths]
    windows = list(chunks_of_sentences(sentences, max_tokens))
    assert list(itertools.chain.from_iterable(windows)) == sentences
    batches = batches_by_length(lengths, max_tokens)
    assert sorted(itertools.chain.from_iterable(batches)) == list(range(len(lengths)))
    for group in [*windows, *([sentences[index] for index in batch] for batch in batches)]:
        assert len(group) == 1 or sum(len(sentence) + 2 for sentence in group) <= max_tokens
    lengths_in_batches = [lengths[index] for batch in batches for index in batch]
    assert lengths_in_batches == sorted(lengths, reverse=True)


def test_each_distinct_word_is_encoded_once_for_all_batches():
    embedder = embedder_of("usual", batch_size=4)
    counts = []
    embedder.encoder.token_encoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    first = embedder.embed_batch(SENTENCES)
    # The two long words are truncated to the same characters.
    num_distinct = len({"<S>", "</S>", *itertools.chain(*SENTENCES)}) - 1
    assert sum(counts) == num_distinct
    again = embedder.embed_batch(SENTENCES)
    assert sum(counts) == num_distinct
    for first_vectors, vectors in zip(first, again, strict=True):
        np.testing.assert_array_equal(first_vectors, vectors)


@pytest.mark.parametrize("variant", ["usual", "words"])
def test_archives_directories_files_and_urls_give_the_same_vectors(tmp_path, monkeypatch, variant):
    expected = saved(tmp_path, variant).embed_batch(SENTENCES)
    only_archive, only_files = tmp_path / "archive", tmp_path / "files"
    for directory, names in (
        (only_archive, ["model.tar.gz"]),
        (only_files, ["options.json", "weights.hdf5", "vocab.txt"]),
    ):
        directory.mkdir()
        for name in names:
            prefix = "elmo_small_" if name.endswith((".json", ".hdf5")) else ""
            (directory / f"{prefix}{name}").write_bytes((tmp_path / name).read_bytes())
    urls = []

    def cached_path(url):
        urls.append(url)
        return only_files

    monkeypatch.setitem(sys.modules, "cached_path", SimpleNamespace(cached_path=cached_path))
    pair = {"weight_file": tmp_path / "weights.hdf5", "vocab_file": tmp_path / "vocab.txt"}
    for embedder in (
        ElmoEmbedder.from_pretrained(tmp_path / "model.tar.gz"),
        ElmoEmbedder.from_pretrained(only_archive, batch_size=7),
        ElmoEmbedder.from_pretrained(str(only_files)),
        ElmoEmbedder.from_pretrained(tmp_path / "options.json", **pair),
        ElmoEmbedder.from_pretrained("hf://someone/a-bilm"),
    ):
        for ours, theirs in zip(embedder.embed_batch(SENTENCES), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert urls == ["hf://someone/a-bilm"]


def failing_cached_path(url):
    raise RuntimeError("401 Client Error\nsomeone/a-bilm")


def test_a_path_or_url_without_a_pretrained_bilm_is_refused_by_name(tmp_path, monkeypatch):
    saved(tmp_path, "words")
    (tmp_path / "empty").mkdir()
    monkeypatch.setitem(sys.modules, "cached_path", SimpleNamespace(cached_path=failing_cached_path))
    (tmp_path / "alone").mkdir()
    pair = {"weight_file": shutil.copy(tmp_path / "weights.hdf5", tmp_path / "alone")}
    (tmp_path / "short.txt").write_text("<S>\n</S>\n<UNK>\n")
    for path, arguments, message in (
        (tmp_path / "absent", {}, "absent: there is no such file or directory"),
        (
            tmp_path / "empty",
            {},
            r"must be an options.json with its weights, .* got a directory with 0 \*options.json and 0 \*.hdf5",
        ),
        (
            tmp_path / "options.json",
            {},
            "options.json: must be an options.json with its weights, a model.tar.gz, .*, got another file",
        ),
        (tmp_path, pair, "must be the options.json that goes with the weights, and is a directory"),
        (tmp_path / "options.json", pair, "a biLM of word input needs its vocabulary, `vocab_file`, got none"),
        (
            tmp_path / "options.json",
            {**pair, "vocab_file": tmp_path / "short.txt"},
            "the vocabulary must have 11 words, as the biLM, got 3",
        ),
        (tmp_path / "model.tar.gz", {"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ("hf://someone/a-bilm", {}, "hf://someone/a-bilm: cannot be fetched: 401 Client Error someone/a-bilm"),
    ):
        with pytest.raises(InputError, match=message):
            ElmoEmbedder.from_pretrained(path, **arguments)
    monkeypatch.setitem(sys.modules, "cached_path", None)
    with pytest.raises(InputError, match="a URL needs the package cached_path: pip install cached-path"):
        ElmoEmbedder.from_pretrained("https://example.com/model.tar.gz")
    with pytest.raises(InputError, match="`vocabulary` must be given for a biLM of word input, got None"):
        ElmoEmbedder(random_encoder(options_of("words")))


def test_a_table_of_words_in_float32_serves_bfloat16_too(monkeypatch: pytest.MonkeyPatch) -> None:
    use_bfloat16(monkeypatch)
    encoder = random_encoder(options_of("usual"))
    words, width = ["the", "mill", "turns"], encoder.bilm.output_size
    vectors = ElmoEmbedder(encoder).embed_sentence(words, 0)[:, :width].copy()
    encoder.forget_words()
    rounded = ElmoEmbedder(encoder, precision="bf16").embed_sentence(words, 0)[:, :width]
    assert not np.allclose(rounded, vectors, 1e-3)
    encoder.cache_words(words, torch.from_numpy(vectors))
    embedded = ElmoEmbedder(encoder, precision="bf16").embed_sentence(words, 0)[:, :width]
    np.testing.assert_array_equal(embedded, vectors)
