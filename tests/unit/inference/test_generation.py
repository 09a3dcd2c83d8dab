"""Generated text and its probabilities, compared with the exact scores of whole sentences over a vocabulary of five words."""

from itertools import product
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.inference import generation
from allennlp_elmo_plus.inference.generation import Continuation, DirectionalLM, beam_search, sample
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.modules.language_model import LanguageModel
from tests.helpers.small_models import (
    VOCABULARY,
    batch_of,
    nlls_by_sentence,
    small_model,
    small_options,
)

FIVE_WORDS = VOCABULARY[:5]  # <S> </S> <UNK> the river
WORDS = FIVE_WORDS[3:]
FORWARD_AND_BACKWARD = pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
contexts = st.lists(st.sampled_from([*WORDS, "unheard"]), max_size=3)


def model_of_five_words(seed: int = 3, **overrides: object) -> LanguageModel:
    torch.manual_seed(seed)
    model = build_language_model(small_options(**overrides), len(FIVE_WORDS)).double().eval()
    with torch.no_grad():
        for parameter in (*model.softmax.parameters(), *model.token_encoder.parameters()):
            parameter.copy_(torch.randn_like(parameter))
    return model


def direction_of(model: LanguageModel, backward: bool) -> DirectionalLM:
    return DirectionalLM(model, FIVE_WORDS, 12, backward)


def log_probs_of(model: LanguageModel, words: list[str], backward: bool) -> list[float]:
    """Return the log-probability of each of `words`, in reading order, and of the boundary after them, by scoring the sentence."""
    ((forward_nlls, backward_nlls),) = nlls_by_sentence(model, batch_of([words[::-1] if backward else words]))
    return [-nll for nll in (backward_nlls if backward else forward_nlls)]


@FORWARD_AND_BACKWARD
@settings(deadline=None, max_examples=15)
@given(contexts)
def test_log_probabilities_word_by_word_are_those_of_the_whole_sentence(backward: bool, words: list[str]) -> None:
    model = model_of_five_words()
    direction = direction_of(model, backward)
    hidden, state = direction.read_sentence([])
    log_probs_of_words = []
    for position, word in enumerate([*words, direction.last_word]):
        word_id = FIVE_WORDS.index(word) if word in FIVE_WORDS else 2
        log_probs = direction.log_probs(hidden)
        at_once = direction.log_probs(direction.read_sentence(words[:position])[0])
        torch.testing.assert_close(log_probs, at_once, rtol=0, atol=1e-12)
        log_probs_of_words.append(float(log_probs[0, word_id]))
        if position < len(words):
            hidden, state = direction.read([word], state)
    assert log_probs_of_words == pytest.approx(log_probs_of(model, words, backward), abs=1e-12)


class Scored(NamedTuple):
    """A continuation and its log-probability."""

    log_prob: float
    words: list[str]
    has_ended: bool


def all_continuations(model: LanguageModel, context: list[str], max_words: int, backward: bool) -> list[Scored]:
    """Return every continuation of `context` of at most `max_words` words, the most probable first."""
    continuations = []
    for length in range(max_words + 1):
        for words in product(WORDS, repeat=length):
            log_probs = log_probs_of(model, [*context, *words], backward)[len(context) :]
            if length == max_words:
                continuations.append(Scored(sum(log_probs[:length]), list(words), False))
            else:
                continuations.append(Scored(sum(log_probs), list(words), True))
    return sorted(continuations, reverse=True)


def assert_same_continuations(ours: list[Continuation], expected: list[Scored]) -> None:
    assert [continuation.words for continuation in ours] == [scored.words for scored in expected]
    assert [continuation.has_ended for continuation in ours] == [scored.has_ended for scored in expected]
    expected_log_probs = [scored.log_prob for scored in expected]
    assert [continuation.log_prob for continuation in ours] == pytest.approx(expected_log_probs, abs=1e-12)


@FORWARD_AND_BACKWARD
@pytest.mark.parametrize("context", [[], ["the", "unheard"]])
@pytest.mark.parametrize("chunk_size", [2, 1024])
def test_a_wide_beam_finds_all_continuations_in_order(backward: bool, context: list[str], chunk_size: int) -> None:
    model = model_of_five_words()
    expected = all_continuations(model, context, 4, backward)
    ours = beam_search(direction_of(model, backward), context, 4, beam_size=40, chunk_size=chunk_size)
    assert_same_continuations(ours, expected)
    assert len(ours) == 2**4 + 2**4 - 1


@FORWARD_AND_BACKWARD
@pytest.mark.parametrize("beam_size", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_a_beam_keeps_the_most_probable_continuations_at_every_word(backward: bool, beam_size: int, seed: int) -> None:
    model = model_of_five_words(seed)
    direction = direction_of(model, backward)
    beam = [Scored(0.0, [], False)]
    for _ in range(5):
        candidates = [continuation for continuation in beam if continuation.has_ended]
        for _, words, has_ended in beam:
            if not has_ended:
                for word in (*WORDS, direction.last_word):
                    ends = word == direction.last_word
                    longer = words if ends else [*words, word]
                    log_probs = log_probs_of(model, ["river", *longer], backward)[1:]
                    candidates.append(Scored(sum(log_probs[: len(words) + 1]), longer, ends))
        beam = sorted(candidates, reverse=True)[:beam_size]
    assert_same_continuations(beam_search(direction, ["river"], 5, beam_size), beam)


@FORWARD_AND_BACKWARD
def test_a_sample_is_drawn_from_the_probabilities_at_its_temperature(
    backward: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of_five_words()
    direction = direction_of(model, backward)
    recorded_probs: list[torch.Tensor] = []
    multinomial = torch.multinomial

    def recorded_multinomial(probs: torch.Tensor, num_samples: int, generator: torch.Generator) -> torch.Tensor:
        recorded_probs.append(probs)
        return multinomial(probs, num_samples, generator=generator)

    monkeypatch.setattr(generation.torch, "multinomial", recorded_multinomial)
    result = sample(direction, ["the"], 6, 0.5, torch.Generator().manual_seed(4))
    words = ["the", *result.words]
    expected = log_probs_of(model, words, backward)[1:]
    assert result.log_probs == pytest.approx(expected[: len(result.log_probs)], abs=1e-12)
    assert len(result.log_probs) == len(result.words) + result.has_ended == len(recorded_probs)
    for position, probs in enumerate(recorded_probs):
        hidden, _ = direction.read_sentence(words[: position + 1])
        squared = direction.log_probs(hidden)[0].double().exp() ** 2
        squared[[2, FIVE_WORDS.index(direction.first_word)]] = 0
        torch.testing.assert_close(probs, squared / squared.sum(), rtol=0, atol=1e-12)


def test_a_sample_depends_on_the_seed_and_is_greedy_at_a_low_temperature() -> None:
    direction = direction_of(model_of_five_words(), backward=False)

    def sampled_words(seed: int, temperature: float = 2.0) -> list[str]:
        return sample(direction, [], 8, temperature, torch.Generator().manual_seed(seed)).words

    assert sampled_words(1) == sampled_words(1)
    assert len({tuple(sampled_words(seed)) for seed in range(8)}) > 1
    greedy = beam_search(direction, [], 8)[0]
    assert all(sampled_words(seed, 1e-30) == greedy.words for seed in range(5))


def test_unknown_words_and_the_first_boundary_are_never_generated() -> None:
    model = model_of_five_words()
    with torch.no_grad():
        model.softmax.bias[[0, 2]] = 50.0
    for backward in (False, True):
        with torch.no_grad():
            model.softmax.bias[1] = 50.0 if backward else 0.0
            model.softmax.bias[0] = 0.0 if backward else 50.0
        direction = direction_of(model, backward)
        continuations = beam_search(direction, [], 3, beam_size=4)
        continuations.append(sample(direction, [], 3, 1.0, torch.Generator().manual_seed(0)))
        assert {word for continuation in continuations for word in continuation.words} <= set(WORDS)


def test_a_model_with_word_input_has_the_log_probabilities_of_the_whole_sentence() -> None:
    model = model_of_five_words(char_cnn=None)
    words = ["river", "unheard", "the"]
    direction = DirectionalLM(model, FIVE_WORDS, None, backward=True)
    hidden, _ = direction.read_sentence(words)
    log_prob = float(direction.log_probs(hidden)[0, 0])
    assert log_prob == pytest.approx(log_probs_of(model, words, backward=True)[-1], abs=1e-12)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: beam_search(direction_of(model_of_five_words(), False), [], 0),
            "`max_words` must be at least 1, got 0",
        ),
        (
            lambda: beam_search(direction_of(model_of_five_words(), False), [], 1, 0),
            "`beam_size` must be at least 1, got 0",
        ),
        (
            lambda: sample(direction_of(model_of_five_words(), False), [], 1, 0.0, torch.Generator()),
            "`temperature` must be positive and finite, got 0.0",
        ),
        (
            lambda: sample(direction_of(model_of_five_words(), False), [], 0, 1.0, torch.Generator()),
            "`max_words` must be at least 1, got 0",
        ),
        (lambda: DirectionalLM(small_model().train(), VOCABULARY, 12), "`model` must be in evaluation mode"),
        (
            lambda: direction_of(model_of_five_words(bidirectional=False), True),
            "`backward` must be False for a forward-only model, got True",
        ),
    ],
)
def test_arguments_out_of_range_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
