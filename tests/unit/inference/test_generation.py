"""Generated text and its probabilities, against scoring whole sentences over a vocabulary of five words."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.inference import generation
from allennlp_elmo_plus.inference.generation import DirectionalLM, beam_search, sample
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


def log_probs_of(model: LanguageModel, read: list[str], backward: bool) -> list[float]:
    """Of each word in reading order and of the boundary in the end, by scoring the sentence whole."""
    ((forward, back),) = nlls_by_sentence(model, batch_of([read[::-1] if backward else read]))
    return [-nll for nll in (back if backward else forward)]


@FORWARD_AND_BACKWARD
@settings(deadline=None, max_examples=15)
@given(contexts)
def test_word_by_word_is_the_whole_sentence(backward: bool, read: list[str]) -> None:
    model = model_of_five_words()
    direction = direction_of(model, backward)
    hidden, state = direction.read_sentence([])
    found = []
    for place, word in enumerate([*read, direction.last_word]):
        number = FIVE_WORDS.index(word) if word in FIVE_WORDS else 2
        log_probs = direction.log_probs(hidden)
        at_once = direction.log_probs(direction.read_sentence(read[:place])[0])
        torch.testing.assert_close(log_probs, at_once, rtol=0, atol=1e-12)
        found.append(float(log_probs[0, number]))
        if place < len(read):
            hidden, state = direction.read([word], state)
    assert found == pytest.approx(log_probs_of(model, read, backward), abs=1e-12)


def all_continuations(model: LanguageModel, context: list[str], max_words: int, backward: bool) -> list[tuple]:
    """(log-probability, words, whether it has ended), the likeliest first."""
    result = []
    for length in range(max_words + 1):
        for words in product(WORDS, repeat=length):
            log_probs = log_probs_of(model, [*context, *words], backward)[len(context) :]
            if length == max_words:
                result.append((sum(log_probs[:length]), list(words), False))
            else:
                result.append((sum(log_probs), list(words), True))
    return sorted(result, key=lambda each: -each[0])


@FORWARD_AND_BACKWARD
@pytest.mark.parametrize("context", [[], ["the", "unheard"]])
@pytest.mark.parametrize("chunk_size", [2, 1024])
def test_a_wide_beam_finds_all_continuations_in_order(backward: bool, context: list[str], chunk_size: int) -> None:
    model = model_of_five_words()
    expected = all_continuations(model, context, 4, backward)
    found = beam_search(direction_of(model, backward), context, 4, beam_size=40, chunk_size=chunk_size)
    assert [(each.words, each.has_ended) for each in found] == [tuple(each[1:]) for each in expected]
    assert [each.log_prob for each in found] == pytest.approx([each[0] for each in expected], abs=1e-12)
    assert len(found) == 2**4 + 2**4 - 1


@FORWARD_AND_BACKWARD
@pytest.mark.parametrize("beam_size", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_beam_keeps_the_likeliest_at_every_word(backward: bool, beam_size: int, seed: int) -> None:
    model = model_of_five_words(seed)
    direction = direction_of(model, backward)
    beam: list[tuple[float, list[str], bool]] = [(0.0, [], False)]
    for _ in range(5):
        longer = [each for each in beam if each[2]]
        for _, words, ended in beam:
            if not ended:
                for word in (*WORDS, direction.last_word):
                    ends = word == direction.last_word
                    read = words if ends else [*words, word]
                    log_probs = log_probs_of(model, ["river", *read], backward)[1:]
                    longer.append((sum(log_probs[: len(words) + 1]), read, ends))
        beam = sorted(longer, key=lambda each: -each[0])[:beam_size]
    found = beam_search(direction, ["river"], 5, beam_size)
    assert [(each.words, each.has_ended) for each in found] == [tuple(each[1:]) for each in beam]
    assert [each.log_prob for each in found] == pytest.approx([each[0] for each in beam], abs=1e-12)


@FORWARD_AND_BACKWARD
def test_a_sample_is_drawn_from_the_tempered_probabilities(backward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of_five_words()
    direction = direction_of(model, backward)
    seen: list[torch.Tensor] = []
    draw = torch.multinomial

    def watched(probs: torch.Tensor, num_samples: int, generator: torch.Generator) -> torch.Tensor:
        seen.append(probs)
        return draw(probs, num_samples, generator=generator)

    monkeypatch.setattr(generation.torch, "multinomial", watched)
    result = sample(direction, ["the"], 6, 0.5, torch.Generator().manual_seed(4))
    read = ["the", *result.words]
    expected = log_probs_of(model, read, backward)[1:]
    assert result.log_probs == pytest.approx(expected[: len(result.log_probs)], abs=1e-12)
    assert len(result.log_probs) == len(result.words) + result.has_ended == len(seen)
    for place, probs in enumerate(seen):
        hidden, _ = direction.read_sentence(read[: place + 1])
        squared = direction.log_probs(hidden)[0].double().exp() ** 2
        squared[[2, FIVE_WORDS.index(direction.first_word)]] = 0
        torch.testing.assert_close(probs, squared / squared.sum(), rtol=0, atol=1e-12)


def test_seeds_and_low_temperatures() -> None:
    direction = direction_of(model_of_five_words(), backward=False)

    def drawn(seed: int, temperature: float = 2.0) -> list[str]:
        return sample(direction, [], 8, temperature, torch.Generator().manual_seed(seed)).words

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(8)}) > 1
    greedy = beam_search(direction, [], 8)[0]
    assert all(drawn(seed, 1e-30) == greedy.words for seed in range(5))


def test_unknown_words_and_the_first_boundary_are_never_written() -> None:
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
        assert {word for each in continuations for word in each.words} <= set(WORDS)


def test_word_input() -> None:
    model = model_of_five_words(char_cnn=None)
    read = ["river", "unheard", "the"]
    hidden, _ = direction_of(model, backward=True).read_sentence(read)
    log_probs = DirectionalLM(model, FIVE_WORDS, None, backward=True).log_probs(hidden)
    assert float(log_probs[0, 0]) == pytest.approx(log_probs_of(model, read, backward=True)[-1], abs=1e-12)


@pytest.mark.parametrize(
    "act, message",
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
def test_what_is_refused(act, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        act()
