"""The most probable words at every position, compared with the exact softmax of the language model."""

import pytest
import torch

from allennlp_elmo_plus.data.batching.sentence_packing import pack
from allennlp_elmo_plus.data.batching.sentences import sentence_ids
from allennlp_elmo_plus.inference.substitutes import substitutes
from allennlp_elmo_plus.modules.language_model import LanguageModel
from tests.helpers.small_models import VOCABULARY, batch_of, small_model

SENTENCES = [["the", "river", "rises"], [], ["mill"], ["the", "unheard", "mill", "turns", "."]]
WORD_IDS = {word: number for number, word in enumerate(VOCABULARY)}


def model_of(**overrides: object) -> LanguageModel:
    model = small_model(5, **overrides).eval()
    with torch.no_grad():
        model.softmax.bias.copy_(torch.randn_like(model.softmax.bias))
    return model


@pytest.mark.parametrize(
    "overrides, max_characters", [({}, 12), ({"char_cnn": None}, None)], ids=["characters", "words"]
)
def test_substitutes_are_the_top_words_of_the_softmax_at_each_position(
    overrides: dict, max_characters: int | None
) -> None:
    model = model_of(**overrides)
    ids = sentence_ids(SENTENCES, max_characters, WORD_IDS)
    result = substitutes(model, ids, [len(sentence) for sentence in SENTENCES], max_characters, 4, chunk_size=5)
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
    ((forward, backward),) = substitutes(model, sentence_ids([["the", "mill"]], 12), [2], 12, 2)
    assert backward is None and forward.ids.shape == (3, 2)


def test_a_model_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="^`model` must be in evaluation mode, got one in training$"):
        substitutes(model_of().train(), sentence_ids([["the"]], 12), [1], 12, 2)


def test_word_input_needs_a_vocabulary() -> None:
    with pytest.raises(ValueError, match="^`word_ids` must be given for word input, got None$"):
        sentence_ids([["the"]], None)
