"""The language model, compared with word-by-word scoring, and under changes of the batch that must not change the results."""

import math

import pytest
import torch

from allennlp_elmo_plus.data.batching.sentence_packing import pack, unpack
from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD, encode_words
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.lstm.reference import lstm as lstm_reference
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.training.loss import mean_loss, scale_gradient
from tests.helpers.small_models import (
    RECURRENCES,
    VOCABULARY,
    batch_of,
    nlls_by_sentence,
    small_model,
)

SENTENCES = [["the", "river", "rises", "slowly", "."], ["falls"], ["the", "mill", "turns", "."], []]


def brute_force_nll(model: LanguageModel, words: list, layers: torch.nn.ModuleList) -> list:
    """Return the negative log-probabilities of one direction, computed word by word with the reference LSTM and the full softmax."""
    skip = model.bilm.use_skip_connections
    states = [
        (torch.zeros(1, layer.output_size).double(), torch.zeros(1, layer.cell_size).double()) for layer in layers
    ]
    nlls = []
    for word, target in zip(words, words[1:]):
        vector = model.token_encoder(torch.from_numpy(encode_words([word], 12)), None)
        for index, layer in enumerate(layers):
            bias = layer.bias + torch.cat([torch.full((layer.cell_size,), float(gate == 2)) for gate in range(4)])
            output, *states[index] = lstm_reference(
                [1], layer.cell_clip, layer.proj_clip, vector, *states[index], layer.kernel, bias, layer.projection
            )
            vector = output + vector if index and skip else output
        log_probs = torch.log_softmax(vector[0] @ model.softmax.weight.t() + model.softmax.bias, dim=0)
        nlls.append(-log_probs[VOCABULARY.index(target) if target in VOCABULARY else 2].item())
    return nlls


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_exact_loss_is_that_of_word_by_word_scoring(bidirectional: bool) -> None:
    model = small_model(bidirectional=bidirectional).eval()
    sentences = [*SENTENCES, ["the", "unknowable", "river"]]
    for sentence, (forward, backward) in zip(sentences, nlls_by_sentence(model, batch_of(sentences))):
        words = [BOS_WORD, *sentence, EOS_WORD]
        assert forward == pytest.approx(brute_force_nll(model, words, model.bilm.forward_layers), abs=1e-12)
        if bidirectional:
            assert backward == pytest.approx(brute_force_nll(model, words[::-1], model.bilm.backward_layers), abs=1e-12)
        else:
            assert backward is None


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_padding_order_and_other_sentences_of_the_batch_change_no_loss(recurrence: str) -> None:
    model = small_model(lstm=RECURRENCES[recurrence]).eval()
    one_by_one = [nlls_by_sentence(model, batch_of([sentence]))[0] for sentence in SENTENCES]
    for sentences, padding in ((SENTENCES, 0), (SENTENCES, 9), (SENTENCES[::-1], 3)):
        together = nlls_by_sentence(model, batch_of(sentences, padding))
        for ours, expected in zip(together, one_by_one if sentences is SENTENCES else one_by_one[::-1]):
            assert ours[0] == pytest.approx(expected[0], abs=1e-12) and ours[1] == pytest.approx(expected[1], abs=1e-12)


def test_encoding_each_distinct_word_once_changes_no_gradient() -> None:
    model, batch = small_model().eval(), batch_of(SENTENCES)
    model.exact_loss(batch).forward_nll.sum().backward()
    expected = {name: param.grad.clone() for name, param in model.named_parameters() if param.grad is not None}
    model.zero_grad()
    # In this batch every token has its own row of characters, so that each is encoded separately.
    occurrences = batch._replace(
        characters=batch.characters[torch.cat([batch.forward_inputs.reshape(-1), batch.backward_inputs.reshape(-1)])],
        buckets=None,
        forward_inputs=torch.arange(batch.forward_inputs.numel()).view(batch.forward_inputs.shape),
        backward_inputs=torch.arange(batch.forward_inputs.numel()).view(batch.forward_inputs.shape)
        + batch.forward_inputs.numel(),
    )
    model.exact_loss(occurrences).forward_nll.sum().backward()
    gradients = {name: param.grad for name, param in model.named_parameters() if param.grad is not None}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_windows_with_carried_state_have_the_losses_of_one_long_window(recurrence: str) -> None:
    model = small_model(lstm=RECURRENCES[recurrence]).eval()
    batch = batch_of(
        [
            ["the", "river", "rises", "slowly", "and", "falls", "."],
            ["the", "mill", "turns", "and", "turns", "and", "turns"],
        ]
    )
    expected = model.exact_loss(batch)
    results, state = [], None
    for start, end in ((0, 3), (3, 4), (4, 8)):
        window = batch._replace(
            forward_inputs=batch.forward_inputs[:, start:end],
            backward_inputs=batch.backward_inputs[:, start:end],
            forward_targets=batch.forward_targets[:, start:end],
            backward_targets=batch.backward_targets[:, start:end],
            lengths=torch.full((2,), end - start),
            batch_sizes=[2] * (end - start),
        )
        result = model.exact_loss(window, state)
        state = result.state
        results.append(result)
    for name in ("forward_nll", "backward_nll"):
        nll = torch.cat([getattr(result, name) for result in results])
        torch.testing.assert_close(nll, getattr(expected, name), rtol=0, atol=1e-12)


def test_word_input_can_share_its_embedding_with_the_softmax() -> None:
    model = small_model(
        char_cnn=None, share_embedding_softmax=True, sample_softmax=False, n_tokens_vocab=len(VOCABULARY)
    )
    assert model.softmax.weight is model.token_encoder.embedding
    model.exact_loss(batch_of(SENTENCES)).forward_nll.sum().backward()
    assert model.softmax.weight.grad is not None and model.softmax.bias.shape == (len(VOCABULARY),)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"char_cnn": None},
        {"char_cnn": None, "share_embedding_softmax": True},
        {"sample_softmax": False},
        {"char_cnn": None, "sample_softmax": False},
    ],
    ids=["characters", "words", "shared", "exact", "words, exact"],
)
def test_sparse_parameters_are_those_whose_gradient_is_sparse(overrides: dict) -> None:
    model = small_model(n_negative_samples_batch=3, **overrides)
    batch, sample = batch_of(SENTENCES), NegativeSample(torch.tensor([1, 4, 7]), torch.zeros(3).double(), 5)
    if model.sample_softmax:
        loss = model.sampled_loss(batch, (sample, sample)).forward_nll_sum
    else:
        loss = model.exact_loss(batch).forward_nll.sum()
    loss.backward()
    with_sparse_gradient = {
        id(param) for param in model.parameters() if param.grad is not None and param.grad.is_sparse
    }
    assert {id(param) for param in model.sparse_parameters()} == with_sparse_gradient
    assert bool(with_sparse_gradient) == model.sample_softmax
    model.softmax.requires_grad_(False)
    assert not {id(param) for param in model.softmax.parameters()} & {id(param) for param in model.sparse_parameters()}


def test_dropout_sets_outputs_of_the_top_layer_to_zero_only_in_training() -> None:
    model, batch = small_model(dropout=0.5), batch_of(SENTENCES)
    dropped = model(batch).forward
    assert 0.2 < (dropped == 0).double().mean() < 0.8
    model.eval()
    assert not (model(batch).forward == 0).any() and torch.equal(model(batch).forward, model(batch).forward)


def test_pack_and_unpack_are_inverse() -> None:
    mask = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    values = torch.tensor([[1, 2, 3], [4, 5, 0], [6, 0, 0]])
    assert pack(values, [3, 2, 1]).tolist() == [1, 4, 6, 2, 5, 3]
    assert torch.equal(unpack(pack(values, [3, 2, 1]), mask), values)
    full = torch.arange(6).view(2, 3)
    assert torch.equal(pack(full, [2, 2, 2]), full.t().flatten()) and len(pack(full, [])) == 0


def test_scale_gradient_multiplies_the_gradient_and_keeps_the_loss() -> None:
    nll = torch.tensor([6.0, 2.0], dtype=torch.double, requires_grad=True)
    infinite = nll[0] * math.inf
    assert scale_gradient(infinite, 20, infinite.detach()).item() == math.inf
    loss = mean_loss(nll[0], nll[1], 4)
    loss = scale_gradient(loss, 20, loss.detach())
    assert loss.item() == 1.0
    loss.backward()
    assert nll.grad.tolist() == [2.5, 2.5]
    assert mean_loss(nll[0], None, 4).item() == 1.5


def test_another_number_of_words_is_refused() -> None:
    with pytest.raises(InputError, match="`n_tokens_vocab` must be 12, the number of words in the vocabulary, got 13"):
        small_model(n_tokens_vocab=13)
