"""The most probable words at every position, compared with the exact softmax of the language model."""

import pytest
import torch

from allennlp_elmo_plus.data.batching.sentence_packing import pack
from allennlp_elmo_plus.data.batching.sentences import sentence_ids
from allennlp_elmo_plus.inference.predictions import encoder_of
from allennlp_elmo_plus.inference.substitutes import Substitutes, substitutes
from allennlp_elmo_plus.modules.language_model import LanguageModel
from tests.helpers.small_models import VOCABULARY, batch_of, small_model

SENTENCES = [["the", "river", "rises"], [], ["mill"], ["the", "unheard", "mill", "turns", "."]]
WORD_IDS = {word: number for number, word in enumerate(VOCABULARY)}


def model_of(**overrides: object) -> LanguageModel:
    model = small_model(5, **overrides).eval()
    with torch.no_grad():
        model.softmax.bias.copy_(torch.randn_like(model.softmax.bias))
    return model


def substitutes_of(model: LanguageModel, words: list[str]) -> list[Substitutes]:
    return substitutes(encoder_of(model, VOCABULARY, 12), model.softmax, sentence_ids([words], 12), [len(words)], 2)


@pytest.mark.parametrize(
    "overrides, max_characters", [({}, 12), ({"char_cnn": None}, None)], ids=["characters", "words"]
)
def test_substitutes_are_the_top_words_of_the_softmax_at_each_position(
    overrides: dict, max_characters: int | None
) -> None:
    model = model_of(**overrides)
    ids = sentence_ids(SENTENCES, max_characters, WORD_IDS)
    encoder = encoder_of(model, VOCABULARY, max_characters)
    result = substitutes(encoder, model.softmax, ids, [len(sentence) for sentence in SENTENCES], 4, chunk_size=5)
    for sentence, (forward, backward) in zip(SENTENCES, result, strict=True):
        batch = batch_of([sentence])
        with torch.no_grad():
            top = model(batch)
        for hidden, ours, is_reversed in ((top.forward, forward, False), (top.backward, backward, True)):
            assert len(pack(batch.forward_targets, batch.batch_sizes)) == len(hidden) == len(sentence) + 1
            expected = torch.log_softmax(hidden @ model.softmax.weight.t() + model.softmax.bias, 1)
            log_probs, word_ids = (expected.flip(0) if is_reversed else expected).topk(4, dim=1)
            torch.testing.assert_close(ours.log_probs, log_probs, rtol=0, atol=1e-12)
            assert torch.equal(ours.ids, word_ids)


def test_a_forward_only_model_has_no_backward_words() -> None:
    model = model_of(bidirectional=False)
    ((forward, backward),) = substitutes_of(model, ["the", "mill"])
    assert backward is None and forward.ids.shape == (3, 2)


def test_a_model_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="^`encoder` must be in evaluation mode, got one in training$"):
        substitutes_of(model_of().train(), ["the"])


def test_word_input_needs_a_vocabulary() -> None:
    with pytest.raises(ValueError, match="^`word_ids` must be given for word input, got None$"):
        sentence_ids([["the"]], None)


def test_the_ends_of_a_sentence_may_be_anywhere_in_the_vocabulary() -> None:
    """The same biLM of word input, its words and weights in another order."""
    model, other = (model_of(char_cnn=None) for _ in range(2))
    order = torch.arange(len(VOCABULARY)).roll(2)
    words = [VOCABULARY[number] for number in order.tolist()]
    with torch.no_grad():
        for name, parameter in model.state_dict().items():
            is_by_word = name.startswith("softmax.") or name == "token_encoder.embedding"
            other.get_parameter(name).copy_(parameter[order] if is_by_word else parameter)
    tops = []
    for each, vocabulary in ((model, VOCABULARY), (other, words)):
        ids = sentence_ids([["the", "mill"]], None, {word: number for number, word in enumerate(vocabulary)})
        ((forward, _),) = substitutes(encoder_of(each, vocabulary, None), each.softmax, ids, [2], 3)
        tops.append(([[vocabulary[number] for number in row] for row in forward.ids.tolist()], forward.log_probs))
    assert tops[0][0] == tops[1][0] and torch.equal(tops[0][1], tops[1][1])
