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
from allennlp_elmo_plus.inference.chunks import run_in_chunks
from allennlp_elmo_plus.modules.layer_mix import LayerMix
from tests.helpers.saved_bilm import SENTENCES, VOCABULARY, saved
from tests.helpers.small_encoders import options_of, random_encoder, variants

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=6)


def embedder_of(variant: str, batch_size: int = 2048) -> ElmoEmbedder:
    options = options_of(variant)
    return ElmoEmbedder(random_encoder(options).double(), VOCABULARY if options.char_cnn is None else None, batch_size)


def encoded(embedder: ElmoEmbedder, sentence: list[str]) -> torch.Tensor:
    """(L + 1, T, K) of the encoder as the token embedder calls it, the sentence alone."""
    encoder = embedder.encoder
    if encoder.max_characters is None:
        places = [VOCABULARY.index(word) if word in VOCABULARY else 2 for word in sentence]
        ids = torch.tensor([places], dtype=torch.int64).reshape(1, -1) + 1
    else:
        ids = torch.from_numpy(encode_words(sentence, encoder.max_characters)).long().unsqueeze(0)
    representation = encoder(ids)
    return torch.stack([representation.layout.unpack(layer)[0] for layer in representation.layers]).detach()


@variants
@pytest.mark.parametrize("batch_size", [1, 7, 2048])
def test_vectors_are_those_of_the_encoder_whatever_the_batch(variant, batch_size):
    embedder = embedder_of(variant, batch_size)
    for sentence, vectors in zip(SENTENCES, embedder.embed_batch(SENTENCES), strict=True):
        assert vectors.shape == (embedder.num_layers, len(sentence), embedder.output_size)
        if sentence:
            np.testing.assert_allclose(vectors, encoded(embedder, sentence).numpy(), rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, max_rows=st.integers(1, 12), bidirectional=st.booleans())
def test_chunks_with_carried_state_are_one_run(lengths, max_rows, bidirectional):
    encoder = random_encoder(options_of("usual" if bidirectional else "one direction")).double()
    layout = SentenceLayout.of_lengths(lengths, max(lengths), torch.device("cpu"))
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(7, encoder.bilm.output_size, dtype=torch.float64, generator=generator)
    forward_rows = torch.randint(7, (len(layout.word_of_row),), generator=generator)
    backward_rows = forward_rows[layout.reversal] if bidirectional else None
    with torch.no_grad():
        whole = encoder.bilm(
            vectors[forward_rows], None if backward_rows is None else vectors[backward_rows], layout.batch_sizes
        )
        chunks = list(run_in_chunks(encoder.bilm, vectors, forward_rows, backward_rows, layout.batch_sizes, max_rows))
    widest = max(layout.batch_sizes)
    assert all(chunk.rows.stop - chunk.rows.start <= max(max_rows, widest) for chunk in chunks)
    assert [row for chunk in chunks for row in range(chunk.rows.start, chunk.rows.stop)] == list(
        range(len(forward_rows))
    )
    for direction in ("forward", "backward") if bidirectional else ("forward",):
        for layer, expected in enumerate(getattr(whole, direction)):
            found = torch.cat([getattr(chunk.output, direction)[layer] for chunk in chunks])
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_long_sentence_is_never_at_once_in_the_lstm():
    embedder = embedder_of("usual", batch_size=10)
    sizes = []
    embedder.encoder.bilm.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    long = list(itertools.islice(itertools.cycle(SENTENCES[3]), 95))
    vectors = embedder.embed_sentence(long)
    # With `<S>` and `</S>`.
    assert sizes == [10] * 9 + [7]
    np.testing.assert_allclose(vectors, encoded(embedder, long).numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", ["usual", "one direction"])
def test_layers_are_all_the_top_one_the_average_or_a_mix(variant):
    embedder = embedder_of(variant, batch_size=5)
    weights = (0.5, -2.0, 3.0)
    for sentence in SENTENCES:
        whole = embedder.embed_sentence(sentence)
        found = [embedder.embed_sentence(sentence, layers) for layers in ("top", "average", LayerMix(weights))]
        expected = [whole[-1], whole.mean(axis=0), np.tensordot(weights, whole, axes=1)]
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.shape == (len(sentence), embedder.output_size)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "layers, message",
    [
        ("mean", '`layers` must be "all", "top", "average" or a LayerMix, got \'mean\''),
        (LayerMix((1.0, 2.0)), "a mix of this biLM must have 3 weights, one per layer, got 2"),
    ],
)
def test_other_layers_are_refused_before_any_sentence(layers, message):
    with pytest.raises(InputError, match=message):
        embedder_of("usual").embed_sentences([["the"]], layers)


def test_sentences_without_end_come_in_order_and_few_are_read_ahead():
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
def test_windows_and_batches_hold_every_sentence_once_and_no_more_tokens_than_allowed(lengths, max_tokens):
    sentences = [["w"] * length for length in lengths]
    windows = list(chunks_of_sentences(sentences, max_tokens))
    assert list(itertools.chain.from_iterable(windows)) == sentences
    batches = batches_by_length(lengths, max_tokens)
    assert sorted(itertools.chain.from_iterable(batches)) == list(range(len(lengths)))
    for group in [*windows, *([sentences[place] for place in batch] for batch in batches)]:
        assert len(group) == 1 or sum(len(sentence) + 2 for sentence in group) <= max_tokens
    in_order = [lengths[place] for batch in batches for place in batch]
    assert in_order == sorted(lengths, reverse=True)


def test_each_distinct_word_is_encoded_once_over_batches():
    embedder = embedder_of("usual", batch_size=4)
    counts = []
    embedder.encoder.token_encoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    first = embedder.embed_batch(SENTENCES)
    # The two long words are cut alike.
    num_distinct = len({"<S>", "</S>", *itertools.chain(*SENTENCES)}) - 1
    assert sum(counts) == num_distinct
    again = embedder.embed_batch(SENTENCES)
    assert sum(counts) == num_distinct
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("variant", ["usual", "words"])
def test_every_form_of_a_pretrained_bilm_is_the_same_one(tmp_path, monkeypatch, variant):
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
    fetched = []

    def cached_path(url):
        fetched.append(url)
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
    assert fetched == ["hf://someone/a-bilm"]


def failing(url):
    raise RuntimeError("401 Client Error\nsomeone/a-bilm")


def test_what_is_no_pretrained_bilm_is_refused_by_name(tmp_path, monkeypatch):
    saved(tmp_path, "words")
    (tmp_path / "empty").mkdir()
    monkeypatch.setitem(sys.modules, "cached_path", SimpleNamespace(cached_path=failing))
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
