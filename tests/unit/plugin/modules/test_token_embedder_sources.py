"""The sources of the token embedder's options and weights: files, archives, inline options."""

import copy
import json
import logging
import shutil

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.models import Model
from allennlp.models.archival import archive_model, load_archive
from allennlp.modules.text_field_embedders import BasicTextFieldEmbedder
from allennlp.modules.token_embedders import TokenEmbedder

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.exported_bilm import (
    BATCHES,
    OPTIONS,
    close,
    ids_of,
)
from tests.helpers.small_archives import (
    archived_files,
    calling,
    saved,
    small_model,
    write_archive,
)
from tests.helpers.small_models import RECURRENCES


def archive(directory, options, encoder=None, **changes):
    """Write a model.tar.gz of a language model with `options` and the weights of `encoder`. Return its path."""
    files = archived_files(options)
    if encoder is not None:
        files["weights.th"] = saved({**small_model(options).state_dict(), **encoder.state_dict()})
    return str(write_archive(directory / "model.tar.gz", {**files, **changes}))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_requires_grad_applies_to_all_weights_of_the_bilm_and_no_others(files, requires_grad):
    embedder = BilmTokenEmbedder(**files, requires_grad=requires_grad, projection_dim=3)
    for name, parameter in embedder.named_parameters():
        assert parameter.requires_grad == (requires_grad or not name.startswith("_elmo._encoder."))


def test_an_archive_has_its_own_options_and_weights(files, tmp_path):
    reference = BilmTokenEmbedder(**files).eval()
    config = {**OPTIONS, "bidirectional": True}
    path = archive(tmp_path, config, reference._elmo._encoder)
    ids = ids_of(BATCHES[0])
    close(BilmTokenEmbedder(archive_file=path).eval()(ids), reference(ids), 1e-6)
    inline = BilmTokenEmbedder(options=OPTIONS, pretrained_file=path).eval()
    close(inline(ids), reference(ids), 1e-6)
    inline = BilmTokenEmbedder(options=OPTIONS, pretrained_file=files["weight_file"]).eval()
    close(inline(ids), reference(ids), 1e-6)
    other = {**OPTIONS, "lstm": {**OPTIONS["lstm"], "cell_clip": 3}}
    with pytest.raises(InputError, match="its options must be those of `options`: `lstm.cell_clip` 3, got 0.6$"):
        BilmTokenEmbedder(options=other, pretrained_file=path)


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_every_recurrence_embeds_from_an_archive_and_from_options(files, tmp_path, recurrence, bidirectional):
    config = {**OPTIONS, "bidirectional": bidirectional, "lstm": RECURRENCES[recurrence]}
    torch.manual_seed(4)
    encoder = build_encoder(BiLMOptions.from_dict(config, inference=False)).eval()
    path = archive(tmp_path, config, encoder)
    with torch.no_grad():
        layers, layout, _ = encoder(ids_of(BATCHES[0]))
        expected = layout.unpack(sum(layers) / 3)
    for source in ({"archive_file": path}, {"options": config, "pretrained_file": path}):
        embedder = BilmTokenEmbedder(**source).eval()
        vectors = embedder(ids_of(BATCHES[0]))
        assert embedder.get_output_dim() == 5 * (1 + bidirectional)
        close(vectors, expected, 1e-6)
        close(embedder(ids_of(BATCHES[0][3:])), vectors[3:], 1e-6)
    if not recurrence.startswith(("lstm, projected", "lstm, not projected")):
        with pytest.raises(InputError, match="weights.hdf5 has no place for a model with `lstm."):
            BilmTokenEmbedder(options=config, pretrained_file=files["weight_file"])


def test_an_archive_of_another_model_and_a_truncated_archive_are_refused(files, tmp_path):
    other = archived_files(OPTIONS, model_type="simple_tagger")["config.json"]
    with pytest.raises(
        InputError, match="its `config.json` must have a `model` of type `bilm`, as pretraining writes it"
    ):
        BilmTokenEmbedder(archive_file=archive(tmp_path, OPTIONS, **{"config.json": other}))
    encoder = BilmTokenEmbedder(**files)._elmo._encoder
    other = {**OPTIONS, "bidirectional": True, "lstm": {**OPTIONS["lstm"], "dim": 21}}
    with pytest.raises(InputError, match=r"must have shape \(16, 84\) by the options, got \(16, 80\)"):
        BilmTokenEmbedder(archive_file=archive(tmp_path, other, encoder))
    path = archive(tmp_path, OPTIONS)
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
    with pytest.raises(InputError, match="must be a whole model.tar.gz: "):
        BilmTokenEmbedder(archive_file=path)
    with pytest.raises(
        InputError, match="weights.hdf5: weights must come with their options.json, got the weights alone"
    ):
        BilmTokenEmbedder(archive_file=files["weight_file"])


def test_an_archive_whose_weights_call_a_function_is_refused(tmp_path, capsys):
    hostile = archive(tmp_path, OPTIONS, **{"weights.th": calling(print, "run")})
    with pytest.raises(InputError, match="its `weights.th` must hold nothing but tensors .*, got the name .*print"):
        BilmTokenEmbedder(archive_file=hostile)
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


def test_options_without_weights_log_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        BilmTokenEmbedder(options=OPTIONS)
    assert "no `pretrained_file`: the biLM's weights are random until those of an archive are loaded" in caplog.text


def test_options_can_be_written_in_a_config(files):
    params = Params({"type": "bilm", "options": OPTIONS, "pretrained_file": files["weight_file"]})
    embedder = TokenEmbedder.from_params(params).eval()
    close(embedder(ids_of(BATCHES[0])), BilmTokenEmbedder(**files).eval()(ids_of(BATCHES[0])), 1e-6)


def test_a_misspelt_argument_is_refused_with_the_right_name(files):
    with pytest.raises(ConfigurationError, match="has no option `layer_norm`: did you mean `do_layer_norm`?"):
        TokenEmbedder.from_params(Params({"type": "bilm", **files, "layer_norm": True}))


def word_model(directory):
    options = BiLMOptions.from_dict({"lstm": OPTIONS["lstm"], "n_tokens_vocab": 9})
    torch.manual_seed(2)
    encoder = build_encoder(options)
    write_weights(directory / "weights.hdf5", encoder, options)
    (directory / "options.json").write_text(json.dumps({"lstm": OPTIONS["lstm"]}))
    return {"options_file": str(directory / "options.json"), "weight_file": str(directory / "weights.hdf5")}, encoder


def test_a_bilm_with_word_input_reads_word_ids(tmp_path):
    files, encoder = word_model(tmp_path)
    # The options.json does not have the size of the vocabulary; the size is read from the weights.
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
    with pytest.raises(
        ConfigurationError, match="`tokens` must be given to this biLM, got none: use the token indexer `bilm_words`"
    ):
        embedder(ids_of(BATCHES[0]))
    with pytest.raises(ValueError, match="`words` can only be cached for character input"):
        BilmTokenEmbedder(**files, vocab_to_cache=["a"])


def test_a_forward_model_has_vectors_of_half_the_size(tmp_path):
    options = BiLMOptions.from_dict({**OPTIONS, "bidirectional": False})
    torch.manual_seed(2)
    write_weights(tmp_path / "weights.hdf5", build_encoder(options), options)
    inline = {**OPTIONS, "bidirectional": False}
    embedder = BilmTokenEmbedder(options=inline, pretrained_file=str(tmp_path / "weights.hdf5")).eval()
    assert embedder.get_output_dim() == 8
    full = embedder(ids_of([["the", "cat", "sat"]]))
    # A forward model reads only the words before.
    close(embedder(ids_of([["the", "cat"]])), full[:, :2], 1e-6)


def test_the_archive_of_a_downstream_model_loads_without_the_pretrained_files(files, tmp_path):
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
