"""The token embedder's vectors and gradients, compared with AllenNLP's `ElmoTokenEmbedder`."""

import numpy as np
import pytest
import torch
from allennlp.common import Params
from allennlp.modules.text_field_embedders import BasicTextFieldEmbedder
from allennlp.modules.token_embedders import ElmoTokenEmbedder, TokenEmbedder

from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.exported_bilm import (
    BATCHES,
    OPTIONS,
    close,
    exported,
    ids_of,
)

OTHER_MODELS = {
    "usual": {},
    "tanh": {"char_cnn": {**OPTIONS["char_cnn"], "activation": "tanh"}},
    "no highway": {"char_cnn": {**OPTIONS["char_cnn"], "n_highway": 0}},
    "no CNN projection": {"lstm": {**OPTIONS["lstm"], "projection_dim": 16}},
    "no LSTM projection": {"lstm": {**OPTIONS["lstm"], "dim": 8}},
    "no clips": {"lstm": {**OPTIONS["lstm"], "cell_clip": None, "proj_clip": None}},
    "one layer": {"lstm": {**OPTIONS["lstm"], "n_layers": 1}},
}


def word_mask(sentences):
    longest = max(map(len, sentences))
    return torch.tensor([[step < len(words) for step in range(longest)] for words in sentences])


@pytest.mark.parametrize("model", OTHER_MODELS)
def test_vectors_are_those_of_a_fresh_elmo_token_embedder(tmp_path, model):
    files = exported(tmp_path, BiLMOptions.from_dict({**OPTIONS, **OTHER_MODELS[model]}))
    ours, theirs = BilmTokenEmbedder(**files).eval(), ElmoTokenEmbedder(**files).eval()
    assert ours.get_output_dim() == theirs.get_output_dim()
    ids = ids_of(BATCHES[0])
    vectors = ours(ids)
    close(vectors, theirs(ids))
    assert (vectors[~word_mask(BATCHES[0])] == 0).all()
    assert (vectors[word_mask(BATCHES[0])] != 0).any(dim=-1).all()


@pytest.mark.parametrize(
    "arguments", [{"do_layer_norm": True}, {"scalar_mix_parameters": [0.5, -1.0, 2.0]}, {"projection_dim": 3}]
)
def test_each_argument_has_the_effect_that_it_has_in_elmo_token_embedder(files, arguments):
    ours, theirs = BilmTokenEmbedder(**files, **arguments).eval(), ElmoTokenEmbedder(**files, **arguments).eval()
    if ours._projection is not None:
        ours._projection.load_state_dict(theirs._projection.state_dict())
    close(ours(ids_of(BATCHES[0])), theirs(ids_of(BATCHES[0])))
    assert ours.get_output_dim() == theirs.get_output_dim()
    assert [parameter.requires_grad for parameter in ours._elmo.scalar_mix_0.parameters()] == [
        parameter.requires_grad for parameter in theirs._elmo.scalar_mix_0.parameters()
    ]


def test_dropout_is_applied_between_the_mix_and_the_projection(files):
    arguments = {**files, "dropout": 0.4, "projection_dim": 3}
    ours, theirs = BilmTokenEmbedder(**arguments), ElmoTokenEmbedder(**arguments)
    ours._projection.load_state_dict(theirs._projection.state_dict())
    assert ours._elmo._dropout.p == 0.4
    ids = ids_of(BATCHES[0])
    torch.manual_seed(5)
    vectors = ours(ids)
    torch.manual_seed(5)
    close(vectors, theirs(ids))


def test_gradients_of_every_weight_are_those_of_elmo_token_embedder(files):
    arguments = {**files, "requires_grad": True, "dropout": 0.0}
    ours, theirs = BilmTokenEmbedder(**arguments).double(), ElmoTokenEmbedder(**arguments).double()
    ids = ids_of(BATCHES[0])
    weights = torch.randn(4, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (ours(ids) * weights).sum().backward()
    (theirs(ids) * weights).sum().backward()
    encoder, cell = ours._elmo._encoder, theirs._elmo._elmo_lstm
    tokens = cell._token_embedder
    grads = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads.values())

    def assert_close_gradient(name, expected):
        close(grads.pop(name), expected, 1e-10)

    assert_close_gradient("token_encoder.cnn.embedding", tokens._char_embedding_weights.grad[1:])
    for index, convolution in enumerate(tokens._convolutions):
        assert_close_gradient(f"token_encoder.cnn.weights.{index}", convolution.weight.grad)
        assert_close_gradient(f"token_encoder.cnn.biases.{index}", convolution.bias.grad)
    for index, layer in enumerate(tokens._highways._layers):
        # AllenNLP concatenates the transform weights and the negated carry weights.
        for half, kind, sign in ((slice(0, 16), "transform", 1), (slice(16, 32), "carry", -1)):
            assert_close_gradient(f"token_encoder.highway.{kind}_weights.{index}", sign * layer.weight.grad[half].t())
            assert_close_gradient(f"token_encoder.highway.{kind}_biases.{index}", sign * layer.bias.grad[half])
    assert_close_gradient("token_encoder.projection_weight", tokens._projection.weight.grad.t())
    assert_close_gradient("token_encoder.projection_bias", tokens._projection.bias.grad)
    # The order of AllenNLP's gates is i, f, g, o.
    order = torch.cat([torch.arange(start, start + 20) for start in (0, 40, 20, 60)])
    for direction in ("forward", "backward"):
        for index in range(2):
            layer = getattr(cell._elmo_lstm, f"{direction}_layer_{index}")
            kernel = torch.cat([layer.input_linearity.weight.grad, layer.state_linearity.weight.grad], dim=1).t()
            assert_close_gradient(f"bilm.{direction}_layers.{index}.kernel", kernel[:, order])
            assert_close_gradient(f"bilm.{direction}_layers.{index}.bias", layer.state_linearity.bias.grad[order])
            assert_close_gradient(f"bilm.{direction}_layers.{index}.projection", layer.state_projection.weight.grad.t())
    assert not grads


def test_vectors_in_float64_are_close_to_those_in_float32(files):
    single, double = BilmTokenEmbedder(**files).eval(), BilmTokenEmbedder(**files).eval()
    before = double(ids_of(BATCHES[0]))
    after = double.double()(ids_of(BATCHES[0]))
    assert before.dtype == torch.float32 and after.dtype == torch.float64
    close(single(ids_of(BATCHES[0])).double(), after)


def test_sentence_boundaries_can_be_kept(files):
    embedder, plain = (
        BilmTokenEmbedder(**files, keep_sentence_boundaries=True).eval(),
        BilmTokenEmbedder(**files).eval(),
    )
    ids = ids_of(BATCHES[0])
    vectors, words = embedder(ids), plain(ids)
    assert vectors.shape == (4, 7, 16)
    for row, sentence in enumerate(BATCHES[0]):
        length = len(sentence)
        close(vectors[row, 1 : 1 + length], words[row, :length], 1e-6)
        assert (vectors[row, [0, length + 1]] != 0).any(dim=-1).all()
        assert (vectors[row, length + 2 :] == 0).all()
    assert embedder(torch.stack([ids, ids])).shape == (2, 4, 7, 16)


def test_ids_may_have_more_dimensions_as_in_elmo_token_embedder(files):
    ours, theirs = (
        BilmTokenEmbedder(**files, projection_dim=3).eval(),
        ElmoTokenEmbedder(**files, projection_dim=3).eval(),
    )
    ours._projection.load_state_dict(theirs._projection.state_dict())
    ids = ids_of(BATCHES[2])
    stacked = ids.view(2, 3, *ids.shape[1:])
    close(ours(stacked), theirs(stacked))


@pytest.mark.parametrize("shape", [(2, 0, 50), (0, 3, 50)])
def test_a_batch_without_words_has_no_vectors(files, shape):
    vectors = BilmTokenEmbedder(**files)(torch.zeros(shape, dtype=torch.int64))
    assert vectors.shape == (*shape[:2], 16)


@pytest.mark.parametrize(
    "ids, message",
    [
        (torch.ones(2, 3, 25, dtype=torch.int64), r"`ids` must have shape \(B, T, 50\), by .*, got \(2, 3, 25\)"),
        (torch.full((1, 1, 50), 262), "`ids` must lie between 0 and 261, got from 262 to 262"),
        (torch.full((1, 1, 50), -1), "`ids` must lie between 0 and 261, got from -1 to -1"),
        (torch.eye(50, dtype=torch.int64)[None], "`ids` must be 0 at all characters of padding and at none of a word"),
        (
            torch.tensor([1, 0, 1])[None, :, None].expand(1, 3, 50),
            "`ids` must hold each sentence without a gap, got 2 words up to position 3 in sentence 0",
        ),
    ],
)
def test_ids_out_of_range_are_refused(files, ids, message):
    with pytest.raises(ValueError, match=message):
        BilmTokenEmbedder(**files)(ids)


def test_in_a_config_only_the_type_differs_from_elmo_token_embedder(files):
    arguments = {**files, "do_layer_norm": False, "dropout": 0.0}
    theirs, ours = (
        BasicTextFieldEmbedder({"elmo": TokenEmbedder.from_params(Params({"type": name, **arguments}))}).eval()
        for name in ("elmo_token_embedder", "bilm")
    )
    field = {"elmo": {"elmo_tokens": ids_of(BATCHES[0])}}
    close(ours(field), theirs(field))


def test_vectors_do_not_depend_on_the_order_or_padding_of_the_batch(files):
    embedder = BilmTokenEmbedder(**files).eval()
    batch = BATCHES[2]
    vectors = embedder(ids_of(batch))
    order = np.random.default_rng(0).permutation(len(batch))
    close(embedder(ids_of([batch[row] for row in order])), vectors[order], 1e-6)
    padded = torch.nn.functional.pad(ids_of(batch), (0, 0, 0, 2))
    close(embedder(padded)[:, :3], vectors, 1e-6)
    assert (embedder(padded)[:, 3:] == 0).all()
