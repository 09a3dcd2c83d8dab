import copy
import json
import logging
import shutil
import tarfile

import numpy as np
import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.models import Model
from allennlp.models.archival import archive_model, load_archive
from allennlp.modules.elmo import batch_to_ids
from allennlp.modules.text_field_embedders import BasicTextFieldEmbedder
from allennlp.modules.token_embedders import ElmoTokenEmbedder, TokenEmbedder

from allennlp_elmo_plus.core.builder import build_encoder
from allennlp_elmo_plus.core.errors import InputError
from allennlp_elmo_plus.core.export import export_model
from allennlp_elmo_plus.core.hdf5 import write_weights
from allennlp_elmo_plus.core.options import BiLMOptions
from allennlp_elmo_plus.plugin.token_embedder import BilmTokenEmbedder

OPTIONS = {
    "char_cnn": {"activation": "relu", "embedding": {"dim": 4}, "filters": [[1, 4], [2, 6], [3, 6]], "n_highway": 2},
    "lstm": {
        "dim": 20,
        "projection_dim": 8,
        "n_layers": 2,
        "cell_clip": 0.6,
        "proj_clip": 0.5,
        "use_skip_connections": True,
    },
}
OTHER_MODELS = {
    "usual": {},
    "tanh": {"char_cnn": {**OPTIONS["char_cnn"], "activation": "tanh"}},
    "no highway": {"char_cnn": {**OPTIONS["char_cnn"], "n_highway": 0}},
    "no CNN projection": {"lstm": {**OPTIONS["lstm"], "projection_dim": 16}},
    "no LSTM projection": {"lstm": {**OPTIONS["lstm"], "dim": 8}},
    "no clips": {"lstm": {**OPTIONS["lstm"], "cell_clip": None, "proj_clip": None}},
    "one layer": {"lstm": {**OPTIONS["lstm"], "n_layers": 1}},
}
WORDS = "the cat sat on a mat and then , Zürich fell quiet 나비 🙂 un".split() + ["x" * 60]
BATCHES = [
    [["the", "cat", "sat"], ["Zürich"], [], ["the", "x" * 60, "나비", "the", "🙂"]],
    [["a", "mat"], ["and", "then", "the", "cat"]],
    [["quiet"], ["fell", "on"], ["a"], ["the", "the"], ["un", "mat", "sat"], ["cat"]],
    [[], ["the"], ["sat", "on", "a", "mat"]],
]


def exported(directory, options, token_bias=0.0):
    torch.manual_seed(11)
    encoder = build_encoder(options)
    with torch.no_grad():
        for parameter in encoder.parameters():
            # Wide enough that both clips bite, and short enough that the 1 AllenNLP adds to a bias is added exactly.
            parameter.copy_((torch.randn_like(parameter) * 2**9).round() / 2**10)
        if token_bias:
            encoder.token_encoder.projection_bias.fill_(token_bias)
    files = export_model(encoder, options, ["<S>", "</S>", "<UNK>", *WORDS], directory)
    return {"options_file": str(files.options), "weight_file": str(files.weights)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("usual"), BiLMOptions.from_dict(OPTIONS))


def ids_of(sentences):
    return batch_to_ids(sentences)


def close(ours, theirs, tolerance=1e-5):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def word_mask(sentences):
    longest = max(map(len, sentences))
    return torch.tensor([[step < len(words) for step in range(longest)] for words in sentences])


def archive(directory, options, encoder, model_type="bilm", weights_name="weights.th"):
    """A model.tar.gz as AllenNLP writes it, of a model whose core module is `language_model`."""
    config = {"dataset_reader": {"type": "bilm"}, "model": {"type": model_type, "namespace": "tokens", **options}}
    (directory / "config.json").write_text(json.dumps(config))
    state = {f"language_model.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({**state, "language_model.softmax.bias": torch.zeros(3)}, directory / "weights.th")
    path = directory / "model.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        file.add(directory / "config.json", arcname="config.json")
        file.add(directory / "weights.th", arcname=weights_name)
    return str(path)


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
def test_each_argument_does_what_it_does_in_elmo_token_embedder(files, arguments):
    ours, theirs = BilmTokenEmbedder(**files, **arguments).eval(), ElmoTokenEmbedder(**files, **arguments).eval()
    if ours._projection is not None:
        ours._projection.load_state_dict(theirs._projection.state_dict())
    close(ours(ids_of(BATCHES[0])), theirs(ids_of(BATCHES[0])))
    assert ours.get_output_dim() == theirs.get_output_dim()
    assert [parameter.requires_grad for parameter in ours._mix.parameters()] == [
        parameter.requires_grad for parameter in theirs._elmo.scalar_mix_0.parameters()
    ]


def test_dropout_falls_between_the_mix_and_the_projection(files):
    arguments = {**files, "dropout": 0.4, "projection_dim": 3}
    ours, theirs = BilmTokenEmbedder(**arguments), ElmoTokenEmbedder(**arguments)
    ours._projection.load_state_dict(theirs._projection.state_dict())
    assert ours._dropout.p == 0.4
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
    encoder, cell = ours._encoder, theirs._elmo._elmo_lstm
    tokens = cell._token_embedder
    grads = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads.values())

    def equal(name, expected):
        close(grads.pop(name), expected, 1e-10)

    equal("token_encoder.cnn.embedding", tokens._char_embedding_weights.grad[1:])
    for index, convolution in enumerate(tokens._convolutions):
        equal(f"token_encoder.cnn.weights.{index}", convolution.weight.grad)
        equal(f"token_encoder.cnn.biases.{index}", convolution.bias.grad)
    for index, layer in enumerate(tokens._highways._layers):
        # AllenNLP stacks [transform; -carry].
        for half, kind, sign in ((slice(0, 16), "transform", 1), (slice(16, 32), "carry", -1)):
            equal(f"token_encoder.highway.{kind}_weights.{index}", sign * layer.weight.grad[half].t())
            equal(f"token_encoder.highway.{kind}_biases.{index}", sign * layer.bias.grad[half])
    equal("token_encoder.projection_weight", tokens._projection.weight.grad.t())
    equal("token_encoder.projection_bias", tokens._projection.bias.grad)
    # AllenNLP orders the gates i, f, g, o.
    order = torch.cat([torch.arange(start, start + 20) for start in (0, 40, 20, 60)])
    for direction in ("forward", "backward"):
        for index in range(2):
            layer = getattr(cell._elmo_lstm, f"{direction}_layer_{index}")
            kernel = torch.cat([layer.input_linearity.weight.grad, layer.state_linearity.weight.grad], dim=1).t()
            equal(f"bilm.{direction}_layers.{index}.kernel", kernel[:, order])
            equal(f"bilm.{direction}_layers.{index}.bias", layer.state_linearity.bias.grad[order])
            equal(f"bilm.{direction}_layers.{index}.projection", layer.state_projection.weight.grad.t())
    assert not grads


def test_double_precision_agrees_with_single(files):
    single, double = BilmTokenEmbedder(**files).eval(), BilmTokenEmbedder(**files).eval()
    before = double(ids_of(BATCHES[0]))
    after = double.double()(ids_of(BATCHES[0]))
    assert before.dtype == torch.float32 and after.dtype == torch.float64
    close(single(ids_of(BATCHES[0])).double(), after)


def test_the_same_sentence_always_gets_the_same_vectors(files):
    embedder = BilmTokenEmbedder(**files).eval()
    first = [embedder(ids_of(batch)) for batch in BATCHES]
    for batch, vectors in zip(BATCHES[::-1], first[::-1], strict=True):
        close(embedder(ids_of(batch)), vectors, 1e-6)
    for row, sentence in enumerate(BATCHES[2]):
        close(embedder(ids_of([sentence]))[0], first[2][row, : len(sentence)], 1e-6)


def test_stateful_goes_on_as_elmo_token_embedder_does_over_batches_of_different_sizes(files):
    ours, theirs = BilmTokenEmbedder(**files, stateful=True).eval(), ElmoTokenEmbedder(**files).eval()
    fresh = BilmTokenEmbedder(**files).eval()
    differences = []
    for batch in BATCHES + BATCHES[1:3]:
        ids = ids_of(batch)
        vectors = ours(ids)
        close(vectors, theirs(ids))
        differences.append((vectors - fresh(ids)).abs().max().item())
    assert differences[0] == 0
    # The state matters: without this, the comparison above would show nothing.
    assert min(differences[1:]) > 1e-3


def test_a_state_follows_a_change_of_precision_and_keeps_no_graph(files):
    embedder = BilmTokenEmbedder(**files, stateful=True, requires_grad=True).eval()
    embedder(ids_of(BATCHES[0]))
    assert not embedder._state.hidden.requires_grad
    vectors = embedder.double()(ids_of(BATCHES[2]))
    assert vectors.dtype == torch.float64
    vectors.sum().backward()
    embedder(ids_of(BATCHES[1])).sum().backward()


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


def test_more_dimensions_are_more_rows(files):
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


def count_encoded_words(embedder):
    counts = []
    embedder._encoder.token_encoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    return counts


def test_each_distinct_word_is_encoded_once_in_a_batch_in_training(files):
    embedder = BilmTokenEmbedder(**files, requires_grad=True)
    counts = count_encoded_words(embedder)
    embedder(ids_of([["the", "cat"], ["the", "the", "cat"]]))
    embedder(ids_of([["the"]]))
    # `<S>` and `</S>` are words too.
    assert counts == [4, 3]


def test_a_frozen_embedder_encodes_each_word_once_until_its_weights_change(files):
    embedder = BilmTokenEmbedder(**files).eval()
    counts = count_encoded_words(embedder)
    embedder(ids_of([["the", "cat"]]))
    embedder(ids_of([["the"], ["cat", "sat"]]))
    embedder(ids_of([["sat"]]))
    assert counts == [4, 1]
    with torch.no_grad():
        embedder._encoder.token_encoder.projection_bias.add_(1.0)
    changed = embedder(ids_of([["sat"]]))
    assert counts == [4, 1, 3]
    reference = BilmTokenEmbedder(**files).eval()
    reference.load_state_dict(embedder.state_dict())
    close(reference(ids_of([["sat"]])), changed, 1e-6)


def test_weights_loaded_after_a_batch_are_used(files, tmp_path):
    embedder = BilmTokenEmbedder(options=OPTIONS).eval()
    embedder(ids_of(BATCHES[0]))
    pretrained = BilmTokenEmbedder(**files).eval()
    embedder.load_state_dict(pretrained.state_dict())
    close(embedder(ids_of(BATCHES[0])), pretrained(ids_of(BATCHES[0])), 1e-6)


def test_a_cache_filled_in_inference_mode_does_not_hinder_training(files):
    embedder = BilmTokenEmbedder(**files, projection_dim=3)
    with torch.inference_mode():
        embedder(ids_of([["the", "cat"]]))
    embedder(ids_of([["the", "cat", "sat"]])).sum().backward()
    assert embedder._mix.gamma.grad is not None


def test_words_to_cache_are_encoded_first_and_others_from_their_characters(files):
    plain, embedder = (
        BilmTokenEmbedder(**files).eval(),
        BilmTokenEmbedder(**files, vocab_to_cache=["pad", *WORDS]).eval(),
    )
    counts = count_encoded_words(embedder)
    ids = ids_of([["the", "cat", "unheard"]])
    close(embedder(ids), plain(ids), 1e-6)
    assert counts == [len(WORDS) + 1, 3]


def test_word_inputs_are_places_in_the_words_to_cache_as_in_elmo_token_embedder(tmp_path):
    # With a cache AllenNLP takes a word whose vector has no positive number for padding.
    files = exported(tmp_path, BiLMOptions.from_dict(OPTIONS), token_bias=4.0)
    vocabulary = ["pad", *WORDS]
    ours = BilmTokenEmbedder(**files, vocab_to_cache=vocabulary).eval()
    theirs = ElmoTokenEmbedder(**files, vocab_to_cache=vocabulary).eval()
    batch = BATCHES[0]
    ids = ids_of(batch)
    places = torch.zeros(ids.shape[:2], dtype=torch.int64)
    for row, sentence in enumerate(batch):
        for step, word in enumerate(sentence):
            places[row, step] = vocabulary.index(word)
    expected = theirs(ids, places)
    close(ours(ids, places), expected)
    # Only the places count: other characters below them change nothing.
    other = ids.clone()
    other[ids == ord("t") + 1] = ord("q") + 1
    close(ours(other, places), expected)
    # A place beyond the list falls back to the characters.
    unknown = places.clone()
    unknown[0, 1] = len(vocabulary) + 5
    close(ours(ids, unknown), expected)
    close(BilmTokenEmbedder(**files).eval()(ids, places), expected)


def test_in_fine_tuning_words_to_cache_still_get_gradients(files):
    embedder = BilmTokenEmbedder(**files, vocab_to_cache=WORDS, requires_grad=True)
    embedder(ids_of([["the"]])).sum().backward()
    assert all(parameter.grad is not None for parameter in embedder._encoder.parameters())


@pytest.mark.parametrize("requires_grad", [False, True])
def test_requires_grad_holds_for_every_weight_of_the_bilm_and_only_those(files, requires_grad):
    embedder = BilmTokenEmbedder(**files, requires_grad=requires_grad, projection_dim=3)
    for name, parameter in embedder.named_parameters():
        assert parameter.requires_grad == (requires_grad or not name.startswith("_encoder."))


def test_an_archive_brings_its_own_options_and_weights(files, tmp_path):
    reference = BilmTokenEmbedder(**files).eval()
    config = {**OPTIONS, "bidirectional": True}
    path = archive(tmp_path, config, reference._encoder)
    ids = ids_of(BATCHES[0])
    close(BilmTokenEmbedder(archive_file=path).eval()(ids), reference(ids), 1e-6)
    inline = BilmTokenEmbedder(options=OPTIONS, pretrained_file=path).eval()
    close(inline(ids), reference(ids), 1e-6)
    inline = BilmTokenEmbedder(options=OPTIONS, pretrained_file=files["weight_file"]).eval()
    close(inline(ids), reference(ids), 1e-6)
    other = {**OPTIONS, "lstm": {**OPTIONS["lstm"], "cell_clip": 3}}
    with pytest.raises(InputError, match="its `lstm` must be that of `options`, .*cell_clip=3,.* got .*cell_clip=0.6"):
        BilmTokenEmbedder(options=other, pretrained_file=path)


def test_an_archive_of_another_kind_or_in_pieces_is_refused(files, tmp_path):
    encoder = BilmTokenEmbedder(**files)._encoder
    with pytest.raises(
        InputError, match="its `config.json` must have a `model` of type `bilm`, as pretraining writes it"
    ):
        BilmTokenEmbedder(archive_file=archive(tmp_path, OPTIONS, encoder, model_type="simple_tagger"))
    with pytest.raises(InputError, match="model.tar.gz: holds no `weights.th`"):
        BilmTokenEmbedder(archive_file=archive(tmp_path, OPTIONS, encoder, weights_name="best.th"))
    other = {**OPTIONS, "bidirectional": True, "lstm": {**OPTIONS["lstm"], "dim": 21}}
    with pytest.raises(InputError, match=r"must have shape \(16, 84\) by the options, got \(16, 80\)"):
        BilmTokenEmbedder(archive_file=archive(tmp_path, other, encoder))
    path = archive(tmp_path, OPTIONS, encoder)
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
    with pytest.raises(InputError, match="must be a whole model.tar.gz: "):
        BilmTokenEmbedder(archive_file=path)
    with pytest.raises(InputError, match="weights.hdf5: must be a model.tar.gz, which brings its own options"):
        BilmTokenEmbedder(archive_file=files["weight_file"])


class Planted:
    def __reduce__(self):
        return (print, ("run",))


def test_nothing_in_an_archive_is_run(files, tmp_path, capsys):
    archive(tmp_path, OPTIONS, BilmTokenEmbedder(**files)._encoder)
    torch.save({"language_model.x": Planted()}, tmp_path / "weights.th")
    with tarfile.open(tmp_path / "planted.tar.gz", "w:gz") as file:
        for name in ("config.json", "weights.th"):
            file.add(tmp_path / name, arcname=name)
    with pytest.raises(InputError, match="its `weights.th` cannot be read as weights: "):
        BilmTokenEmbedder(archive_file=str(tmp_path / "planted.tar.gz"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "exactly one of .* must be given, got none"),
        ({"options_file": "o", "archive_file": "a"}, "exactly one of .* got `options_file` and `archive_file`"),
        ({"options": OPTIONS, "archive_file": "a"}, "exactly one of .* got `archive_file` and `options`"),
        ({"options_file": "o"}, "`weight_file` must be given with `options_file`"),
        ({"options": OPTIONS, "weight_file": "w"}, "`weight_file` goes with `options_file`, got `options`"),
        ({"archive_file": "a", "pretrained_file": "p"}, "`pretrained_file` goes with `options`, got `archive_file`"),
    ],
)
def test_exactly_one_source_must_be_given(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        BilmTokenEmbedder(**arguments)


def test_options_without_weights_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        BilmTokenEmbedder(options=OPTIONS)
    assert "no `pretrained_file`: the biLM's weights are random until those of an archive are loaded" in caplog.text


@pytest.mark.parametrize(
    "ids, message",
    [
        (torch.ones(2, 3, 25, dtype=torch.int64), r"`ids` must have shape \(B, T, 50\), got \(2, 3, 25\)"),
        (torch.full((1, 1, 50), 262), "`ids` must lie between 0 and 261, got from 262 to 262"),
        (torch.full((1, 1, 50), -1), "`ids` must lie between 0 and 261, got from -1 to -1"),
        (torch.eye(50, dtype=torch.int64)[None], "`ids` must be 0 at all characters of a place without a word"),
        (
            torch.tensor([1, 0, 1])[None, :, None].expand(1, 3, 50),
            "`ids` must hold each sentence without a gap, got 2 words up to place 3 in sentence 0",
        ),
    ],
)
def test_ids_that_do_not_fit_are_named(files, ids, message):
    with pytest.raises(ValueError, match=message):
        BilmTokenEmbedder(**files)(ids)


def test_a_configuration_needs_only_another_type(files):
    arguments = {**files, "do_layer_norm": False, "dropout": 0.0}
    theirs, ours = (
        BasicTextFieldEmbedder({"elmo": TokenEmbedder.from_params(Params({"type": name, **arguments}))}).eval()
        for name in ("elmo_token_embedder", "bilm")
    )
    field = {"elmo": {"elmo_tokens": ids_of(BATCHES[0])}}
    close(ours(field), theirs(field))


def test_options_can_be_written_in_a_configuration(files):
    params = Params({"type": "bilm", "options": OPTIONS, "pretrained_file": files["weight_file"]})
    embedder = TokenEmbedder.from_params(params).eval()
    close(embedder(ids_of(BATCHES[0])), BilmTokenEmbedder(**files).eval()(ids_of(BATCHES[0])), 1e-6)


def test_a_misspelt_argument_is_answered_by_the_nearest(files):
    with pytest.raises(ConfigurationError, match="has no option `layer_norm`: did you mean `do_layer_norm`?"):
        TokenEmbedder.from_params(Params({"type": "bilm", **files, "layer_norm": True}))


def word_model(directory):
    options = BiLMOptions.from_dict({"lstm": OPTIONS["lstm"], "n_tokens_vocab": 9})
    torch.manual_seed(2)
    encoder = build_encoder(options)
    write_weights(directory / "weights.hdf5", encoder, options)
    (directory / "options.json").write_text(json.dumps({"lstm": OPTIONS["lstm"]}))
    return {"options_file": str(directory / "options.json"), "weight_file": str(directory / "weights.hdf5")}, encoder


def test_word_input_takes_ids_of_the_vocabulary(tmp_path):
    files, encoder = word_model(tmp_path)
    # The vocabulary's size comes from the file, as options.json does not say it.
    embedder = BilmTokenEmbedder(**files, scalar_mix_parameters=[9e9, 0.0, 0.0]).eval()
    ids = torch.tensor([[4, 9, 6], [5, 0, 0]])
    vectors = embedder(tokens=ids)
    table = encoder.token_encoder.embedding.detach()
    expected = torch.cat([table[ids - 1], table[ids - 1]], dim=-1) * (ids > 0).unsqueeze(-1)
    close(vectors, expected, 1e-6)
    field_embedder = BasicTextFieldEmbedder({"words": embedder})
    close(field_embedder({"words": {"tokens": ids}}), expected, 1e-6)
    with pytest.raises(ValueError, match="`ids` must lie between 0 and 9, got from 0 to 10"):
        embedder(tokens=torch.tensor([[10, 0]]))
    with pytest.raises(ConfigurationError, match="`tokens` must be given to this biLM, got none"):
        embedder(ids_of(BATCHES[0]))
    with pytest.raises(ValueError, match="`words` can only be cached for character input"):
        BilmTokenEmbedder(**files, vocab_to_cache=["a"])


def test_one_direction_has_half_the_width(tmp_path):
    options = BiLMOptions.from_dict({**OPTIONS, "bidirectional": False})
    torch.manual_seed(2)
    write_weights(tmp_path / "weights.hdf5", build_encoder(options), options)
    inline = {**OPTIONS, "bidirectional": False}
    embedder = BilmTokenEmbedder(options=inline, pretrained_file=str(tmp_path / "weights.hdf5")).eval()
    assert embedder.get_output_dim() == 8
    full = embedder(ids_of([["the", "cat", "sat"]]))
    # It reads from the left only.
    close(embedder(ids_of([["the", "cat"]])), full[:, :2], 1e-6)


def test_vectors_do_not_depend_on_the_order_or_padding_of_the_batch(files):
    embedder = BilmTokenEmbedder(**files).eval()
    batch = BATCHES[2]
    vectors = embedder(ids_of(batch))
    order = np.random.default_rng(0).permutation(len(batch))
    close(embedder(ids_of([batch[row] for row in order])), vectors[order], 1e-6)
    padded = torch.nn.functional.pad(ids_of(batch), (0, 0, 0, 2))
    close(embedder(padded)[:, :3], vectors, 1e-6)
    assert (embedder(padded)[:, 3:] == 0).all()


def test_the_archive_of_a_model_needs_none_of_the_files_of_pretraining(files, tmp_path):
    weights = tmp_path / "pretrained.hdf5"
    shutil.copy(files["weight_file"], weights)
    embedder = {"type": "bilm", "options": OPTIONS, "pretrained_file": str(weights)}
    model_config = {
        "type": "basic_classifier",
        "text_field_embedder": {"token_embedders": {"elmo": embedder}},
        "seq2vec_encoder": {"type": "boe", "embedding_dim": 16},
    }
    reader_config = {
        "type": "text_classification_json",
        "tokenizer": "just_spaces",
        "token_indexers": {"elmo": {"type": "elmo_characters"}},
    }
    vocab = Vocabulary({"labels": {"quiet": 1, "loud": 1}})
    model = Model.from_params(Params(copy.deepcopy(model_config)), vocab=vocab).eval()
    (tmp_path / "config.json").write_text(json.dumps({"dataset_reader": reader_config, "model": model_config}))
    vocab.save_to_files(str(tmp_path / "vocabulary"))
    torch.save(model.state_dict(), tmp_path / "best.th")
    path = archive_model(tmp_path)
    weights.unlink()
    loaded = load_archive(path).model.eval()
    field = {"elmo": {"elmo_tokens": ids_of(BATCHES[0])}}
    close(loaded._text_field_embedder(field), model._text_field_embedder(field), 1e-6)
