"""`ElmoEmbedder`'s pooled vectors, similarities, layers by number, progress bar and repr."""

import numpy as np
import pytest

import allennlp_elmo_plus
from allennlp_elmo_plus import InputError, LayerMix
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.modules.layer_mix import LayerOutput
from tests.helpers.saved_bilm import SENTENCES, VOCABULARY
from tests.helpers.small_encoders import options_of, random_encoder

RIVER, _, THE, MILL, _ = SENTENCES


@pytest.fixture(scope="module")
def embedder() -> ElmoEmbedder:
    return ElmoEmbedder(random_encoder(options_of("usual")))


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sum(first * second) / np.sqrt(np.sum(first**2) * np.sum(second**2)))


@pytest.mark.parametrize("layers", ["top", "average", 1, LayerMix((0.5, -2.0, 3.0)), "all"])
def test_pooled_vectors_are_means_over_the_words_of_each_layer(embedder: ElmoEmbedder, layers: LayerOutput) -> None:
    pooled = embedder.embed_pooled(SENTENCES, layers)
    assert pooled.dtype == np.float32
    for row, sentence in zip(pooled, SENTENCES, strict=True):
        vectors = embedder.embed_sentence(sentence, layers)
        expected = vectors.mean(axis=-2) if sentence else np.zeros_like(row)
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-6)
    assert embedder.embed_pooled([], layers).shape == (0, *pooled.shape[1:])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_number_selects_one_layer(embedder: ElmoEmbedder, number: int) -> None:
    all_layers = embedder.embed_batch(SENTENCES)
    for vectors, layers in zip(embedder.embed_batch(SENTENCES, number), all_layers, strict=True):
        np.testing.assert_array_equal(vectors, layers[number])


@pytest.mark.parametrize(
    "layers, rule",
    [
        (3, "`layers` must be from 0 to 2, the layers of this biLM, got 3"),
        (-1, "`layers` must be from 0 to 2, the layers of this biLM, got -1"),
        (True, "the number of a layer or a LayerMix, got True"),
    ],
)
def test_a_layer_that_the_bilm_lacks_is_refused(embedder: ElmoEmbedder, layers: int, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        embedder.embed_sentences(SENTENCES, layers)


def test_similarities_are_cosines(embedder: ElmoEmbedder) -> None:
    river, mill = (embedder.embed_sentence(sentence, "top") for sentence in (RIVER, MILL))
    sentences = embedder.sentence_similarity(RIVER, MILL, "top")
    assert sentences == pytest.approx(cosine(river.mean(axis=0), mill.mean(axis=0)), abs=1e-6)
    # "river" and the second "turns".
    words = embedder.word_similarity(RIVER, 1, MILL, 5, "top")
    assert words == pytest.approx(cosine(river[1], mill[5]), abs=1e-6)
    # The same word: without context the same vector, in two sentences two vectors.
    assert embedder.word_similarity(RIVER, 0, MILL, 1, 0) == pytest.approx(1, abs=1e-6)
    assert embedder.word_similarity(RIVER, 0, MILL, 1, 2) < 0.999
    assert embedder.sentence_similarity(RIVER, []) == 0


@pytest.mark.parametrize("first, second, rule", [(4, 0, "`first_position` .* below 4"), (0, -1, "`second_position`")])
def test_a_position_outside_of_a_sentence_is_refused(
    embedder: ElmoEmbedder, first: int, second: int, rule: str
) -> None:
    with pytest.raises(InputError, match=rule):
        embedder.word_similarity(RIVER, first, MILL, second)


def test_a_progress_bar_counts_the_sentences(embedder: ElmoEmbedder, capsys: pytest.CaptureFixture[str]) -> None:
    embedder.embed_pooled(SENTENCES)
    assert capsys.readouterr().err == ""
    embedder.embed_pooled(SENTENCES, progress_bar=True)
    assert "embedding: 100%" in (bar := capsys.readouterr().err) and "5/5" in bar
    embedder.embed_pooled(iter(SENTENCES), progress_bar=True)
    assert "embedding: 5 sentences" in capsys.readouterr().err


def test_a_repr_describes_the_bilm(embedder: ElmoEmbedder) -> None:
    parameters = sum(parameter.numel() for parameter in embedder.encoder.parameters())
    assert repr(embedder) == (
        f"ElmoEmbedder(3 layers of 10 numbers, character input, two directions, {parameters:,} parameters, float32 on cpu)"
    )
    options = options_of("words")
    words = ElmoEmbedder(random_encoder(options).double(), VOCABULARY)
    assert ", word input, " in repr(words) and repr(words).endswith(" parameters, float64 on cpu)")
    assert ", forward only, " in repr(ElmoEmbedder(random_encoder(options_of("one direction"))))


def test_an_unknown_name_of_the_package_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'allennlp_elmo_plus' has no attribute 'ElmoEmbeder'"):
        allennlp_elmo_plus.ElmoEmbeder  # noqa: B018
