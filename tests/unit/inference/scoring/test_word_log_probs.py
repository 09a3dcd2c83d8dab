"""The log-probability of each word, compared with the exact softmax at each position, one sentence at a time."""

from pathlib import Path

import pytest
import torch

from allennlp_elmo_plus.data.batching.sentence_packing import pack
from allennlp_elmo_plus.formats.parameters import PretrainedModel
from allennlp_elmo_plus.inference.scoring import word_log_probs
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordScorer
from tests.helpers.small_models import VOCABULARY, batch_of, small_model, small_options
from tests.helpers.stored_bilms import write_form

SENTENCES = [
    ["the", "river", "rises"],
    [],
    ["mill"],
    ["the", "unheard", "mill", "turns", "."],
    ["the", "river", "falls"],
    ["and", "river", "falls"],
]


def scorer(**overrides: object) -> WordScorer:
    return WordScorer(PretrainedModel(small_model(5, **overrides), small_options(**overrides), VOCABULARY))


@pytest.mark.parametrize("batch_tokens", [1, 9, 1000], ids="{} tokens".format)
@pytest.mark.parametrize("overrides", [{}, {"char_cnn": None}], ids=["characters", "words"])
def test_log_probs_are_those_of_the_softmax_in_the_order_of_the_words(
    overrides: dict, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sentences that are longer than a batch are read in parts.
    monkeypatch.setattr(word_log_probs, "_BATCH_TOKENS", batch_tokens)
    model = small_model(5, **overrides).eval()
    results = list(scorer(**overrides).log_probs(iter(SENTENCES)))
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
    forward_only = scorer(bidirectional=False)
    ((forward, backward),) = forward_only.log_probs([["the", "mill"]])
    assert backward is None and forward.shape == (3,) and not forward_only.is_bidirectional


def test_each_word_is_encoded_once_and_each_shared_beginning_and_end_is_scored_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = []
    exact_nll = word_log_probs.exact_nll

    def counted(hidden: torch.Tensor, *arguments: torch.Tensor) -> torch.Tensor:
        rows.append(len(hidden))
        return exact_nll(hidden, *arguments)

    monkeypatch.setattr(word_log_probs, "exact_nll", counted)
    ours = scorer()
    encode, encoded = ours._encoder.token_encoder.forward, []
    monkeypatch.setattr(
        ours._encoder.token_encoder, "forward", lambda ids, *rest: encoded.append(len(ids)) or encode(ids, *rest)
    )
    pair = [["the", "river", "rises"], ["the", "river", "falls"]]
    list(ours.log_probs(pair))
    # forward: the, river, rises or falls, and </S> after each; backward: rises or falls, river and the after each, <S> after each
    assert rows == [2 + 2 + 2, 2 + 2 + 2 + 2]
    list(ours.log_probs([*pair, ["the", "mill"]]))
    # <S>, </S> and the four words, then the new word
    assert encoded == [6, 1]


def test_a_word_outside_the_vocabulary_is_scored_as_unknown() -> None:
    ours = scorer()
    assert ours.is_known("mill") and not ours.is_known("unheard")
    (unheard,), (unknown,) = ours.log_probs([["unheard"]]), ours.log_probs([["<UNK>"]])
    # Before the word is read, both are the same target; the state after it is that of its characters.
    assert unheard.forward[0] == unknown.forward[0] and unheard.forward[1] != unknown.forward[1]


def test_a_shared_softmax_is_found_in_the_files_of_bilm_tf(tmp_path: Path) -> None:
    shared = {"char_cnn": None, "share_embedding_softmax": True}
    model, options = small_model(5, **shared).float(), small_options(**shared)
    expected = list(WordScorer(PretrainedModel(model, options, VOCABULARY)).log_probs(SENTENCES))
    source = write_form(tmp_path, "export", model, options)
    for ours, (forward, backward) in zip(
        WordScorer.from_source(source, torch.device("cpu")).log_probs(SENTENCES), expected, strict=True
    ):
        torch.testing.assert_close(ours.forward, forward)
        torch.testing.assert_close(ours.backward, backward)
