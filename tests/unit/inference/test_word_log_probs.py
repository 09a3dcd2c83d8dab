"""The log-probability of each word, compared with the exact softmax at each position, one sentence at a time."""

import pytest
import torch

from allennlp_elmo_plus.data.batching.sentence_packing import pack
from allennlp_elmo_plus.inference.word_log_probs import word_log_probs
from tests.helpers.small_models import VOCABULARY, batch_of, small_model

SENTENCES = [["the", "river", "rises"], [], ["mill"], ["the", "unheard", "mill", "turns", "."]]
WORD_IDS = {word: number for number, word in enumerate(VOCABULARY)}


@pytest.mark.parametrize(
    "overrides, max_characters", [({}, 12), ({"char_cnn": None}, None)], ids=["characters", "words"]
)
def test_log_probs_are_those_of_the_softmax_in_the_order_of_the_words(
    overrides: dict, max_characters: int | None
) -> None:
    model = small_model(5, **overrides).eval()
    results = word_log_probs(model, SENTENCES, WORD_IDS, max_characters, chunk_size=5)
    for sentence, (forward, backward) in zip(SENTENCES, results, strict=True):
        batch = batch_of([sentence])
        with torch.no_grad():
            top = model(batch)
        for hidden, targets, ours, is_reversed in (
            (top.forward, batch.forward_targets, forward, False),
            (top.backward, batch.backward_targets, backward, True),
        ):
            logits = hidden @ model.softmax.weight.t() + model.softmax.bias
            expected = torch.log_softmax(logits, 1).gather(1, pack(targets, batch.batch_sizes)[:, None])[:, 0]
            assert ours.shape == (len(sentence) + 1,)
            torch.testing.assert_close(ours, expected.flip(0) if is_reversed else expected, rtol=0, atol=1e-12)


def test_a_forward_only_model_has_no_backward_log_probs() -> None:
    ((forward, backward),) = word_log_probs(small_model(5, bidirectional=False).eval(), [["the", "mill"]], WORD_IDS, 12)
    assert backward is None and forward.shape == (3,)


def test_a_model_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="^`model` must be in evaluation mode, got one in training$"):
        word_log_probs(small_model(5).train(), [["the"]], WORD_IDS, 12)
