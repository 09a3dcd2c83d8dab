"""Weights of a pretrained model that initialize a new one, with another vocabulary."""

import copy
import json
import tarfile

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.formats.parameters import StoredModel
from allennlp_elmo_plus.formats.transfer import CarriedOver, carry_over, read_pretrained
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from tests.helpers.small_models import (
    VOCABULARY,
    batch_of,
    small_model,
    small_options,
)

NEW_VOCABULARY = ["</S>", "<S>", "<UNK>", "mill", "wheel", "the", "river", "flour"]
WORDS = {"char_cnn": None}
SHARED = {**WORDS, "share_embedding_softmax": True}
SENTENCES = [["the", "river", "rises"], ["the", "mill", "turns", "and", "falls"], []]
kinds = pytest.mark.parametrize("overrides", [{}, WORDS, SHARED], ids=["characters", "words", "shared"])


def fresh(words, **overrides):
    torch.manual_seed(5)
    return build_language_model(small_options(**overrides), len(words)).double()


def trained(**overrides):
    model = small_model(**overrides)
    with torch.no_grad():
        model.softmax.bias.normal_()
    return model


def archive(directory, model, **overrides):
    """Write a model.tar.gz as pretraining does, with config.json, the vocabulary and the weights. Return its path."""
    mapping = small_options(**overrides).to_dict(inference=False)
    (directory / "config.json").write_text(json.dumps({"model": {"type": "bilm", **mapping}}))
    (directory / "tokens.txt").write_text("".join(f"{word}\n" for word in VOCABULARY), encoding="utf-8")
    torch.save({f"language_model.{name}": v for name, v in model.state_dict().items()}, directory / "weights.th")
    with tarfile.open(directory / "model.tar.gz", "w:gz") as file:
        file.add(directory / "config.json", arcname="config.json")
        file.add(directory / "tokens.txt", arcname="vocabulary/tokens.txt")
        file.add(directory / "weights.th", arcname="weights.th")
    return directory / "model.tar.gz"


def stored(weights, words=VOCABULARY):
    return StoredModel("old.th", small_options(), weights, words)


def losses(model):
    result = model.exact_loss(batch_of(SENTENCES))
    return torch.cat([result.forward_nll, result.backward_nll])


@kinds
def test_with_the_same_vocabulary_the_new_model_is_the_old_one(overrides):
    old, new = trained(**overrides).eval(), fresh(VOCABULARY, **overrides).eval()
    assert not torch.allclose(losses(new), losses(old))
    carried = carry_over(new, stored(old.state_dict()), VOCABULARY)
    torch.testing.assert_close(losses(new), losses(old), rtol=0, atol=0)
    assert carried == CarriedOver(12, 12, True)


@kinds
def test_known_words_keep_their_rows_and_new_words_get_fresh_rows(overrides):
    old, new = trained(**overrides), fresh(NEW_VOCABULARY, **overrides)
    before = copy.deepcopy(new.state_dict())
    carried = carry_over(new, stored(old.state_dict()), NEW_VOCABULARY)
    assert carried == CarriedOver(8, 6, True)
    assert carried.describe() == "6 of 8 rows carried over by word, 2 fresh"
    parameters_by_word = {"softmax.weight", "softmax.bias", "token_encoder.embedding"}
    for name, value in new.state_dict().items():
        if name not in parameters_by_word:
            assert torch.equal(value, old.state_dict()[name]), name
            continue
        for row, word in enumerate(NEW_VOCABULARY):
            is_known = word in VOCABULARY
            expected = old.state_dict()[name][VOCABULARY.index(word)] if is_known else before[name][row]
            assert torch.equal(value[row], expected), (name, word)


def test_without_an_old_softmax_all_rows_are_fresh():
    old, new = trained(), fresh(NEW_VOCABULARY)
    before = copy.deepcopy(new.softmax.state_dict())
    weights = {name: value for name, value in old.state_dict().items() if not name.startswith("softmax")}
    carried = carry_over(new, stored(weights, None), NEW_VOCABULARY)
    assert carried == CarriedOver(8, 0, False)
    assert carried.describe() == "a fresh softmax, as the old model has none; 0 of 8 rows carried over by word, 8 fresh"
    assert all(torch.equal(value, before[name]) for name, value in new.softmax.state_dict().items())
    assert torch.equal(new.token_encoder.cnn.embedding, old.token_encoder.cnn.embedding)


@kinds
@pytest.mark.parametrize("kind", ["archive", "hdf5"])
def test_all_weights_are_read_from_archives_and_from_hdf5_files(tmp_path, overrides, kind):
    old, options = trained(**overrides), small_options(**overrides)
    if kind == "archive":
        path = archive(tmp_path, old, **overrides)
    else:
        path = export_model(old, options, VOCABULARY, tmp_path).weights
    read = read_pretrained(path, options)
    assert read.vocabulary == VOCABULARY
    new = fresh(VOCABULARY, **overrides)
    carry_over(new, read, VOCABULARY)
    for name, value in old.state_dict().items():
        assert torch.equal(new.state_dict()[name].float(), value.float()), name


def test_a_softmax_of_zeros_is_read_as_missing(tmp_path):
    old = trained()
    torch.nn.init.zeros_(old.softmax.weight)
    assert not old.has_untrained_softmax
    torch.nn.init.zeros_(old.softmax.bias)
    assert old.has_untrained_softmax
    weights = read_pretrained(archive(tmp_path, old), small_options()).weights
    assert "token_encoder.cnn.embedding" in weights and not any("softmax" in name for name in weights)


def test_released_weights_need_no_vocabulary(tmp_path):
    """They have character input and no softmax, so no parameter has rows by word."""
    old, options = trained(), small_options()
    write_weights(tmp_path / "weights.hdf5", BiLMEncoder(old.token_encoder, old.bilm, 12), options)
    read = read_pretrained(tmp_path / "weights.hdf5", options)
    assert read.vocabulary is None and not any("softmax" in name for name in read.weights)


@pytest.mark.parametrize("overrides", [{}, WORDS], ids=["softmax", "word embedding"])
def test_hdf5_weights_with_rows_by_word_need_their_vocabulary(tmp_path, overrides):
    files = export_model(trained(**overrides), small_options(**overrides), VOCABULARY, tmp_path)
    files.vocabulary.unlink()
    with pytest.raises(InputError, match="weights.hdf5: needs its vocabulary, a `vocab.txt` beside it"):
        read_pretrained(files.weights, small_options(**overrides))


def test_a_vocabulary_of_another_size_is_refused(tmp_path):
    files = export_model(trained(), small_options(), VOCABULARY, tmp_path)
    files.vocabulary.write_text("<S>\n</S>\n<UNK>\nthe\n")
    with pytest.raises(InputError, match=r"`softmax/W` must have shape \(4, 5\) by the options, got \(12, 5\)"):
        read_pretrained(files.weights, small_options())


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"bidirectional": False}, "its options must be those of `options`: `bidirectional` False, got True$"),
        (
            {"lstm": {"dim": 9, "projection_dim": 5}},
            "its options must be those of `options`: `lstm.n_layers` 1, got 2; `lstm.cell_clip` None, got 0.6; "
            "`lstm.proj_clip` None, got 0.4; `lstm.use_skip_connections` False, got True$",
        ),
        ({"char_cnn": None}, "its `char_cnn` must be missing, as in `options`, and is there$"),
    ],
)
def test_an_archive_with_other_options_is_refused_by_their_names(tmp_path, overrides, message):
    path = archive(tmp_path, trained())
    with pytest.raises(InputError, match=f"model.tar.gz: {message}"):
        read_pretrained(path, small_options(**overrides))


def test_an_archive_with_a_separate_softmax_is_refused_for_a_shared_one(tmp_path):
    path = archive(tmp_path, trained(**WORDS), **WORDS)
    with pytest.raises(InputError, match="its `share_embedding_softmax` must be that of `options`, True, got False"):
        read_pretrained(path, small_options(**SHARED))


def test_hdf5_weights_of_another_size_are_refused_by_the_datasets_name(tmp_path):
    files = export_model(trained(), small_options(), VOCABULARY, tmp_path)
    other = small_options(lstm={"dim": 10, "projection_dim": 5, "n_layers": 2})
    with pytest.raises(
        InputError, match=r"Cell0/LSTMCell/W_0` must have shape \(10, 40\) by the options, got \(10, 36\)"
    ):
        read_pretrained(files.weights, other)


def test_a_model_stays_unchanged_if_one_weight_does_not_fit():
    old, new = trained().state_dict(), fresh(NEW_VOCABULARY)
    before = copy.deepcopy(new.state_dict())
    for name, value in (("bilm.backward_layers.1.bias", torch.zeros(3)), ("softmax.bias", torch.zeros(7))):
        with pytest.raises(InputError, match=f"old.th: `{name}` must have shape .* by the options, got"):
            carry_over(new, stored({**old, name: value}), NEW_VOCABULARY)
    missing = {name: tensor for name, tensor in old.items() if name != "bilm.backward_layers.1.bias"}
    with pytest.raises(InputError, match="`bilm.backward_layers.1.bias` must have shape .*, got None"):
        carry_over(new, stored(missing), NEW_VOCABULARY)
    infinite = {**old, "softmax.bias": torch.full((12,), float("inf"))}
    with pytest.raises(InputError, match="`softmax.bias` must hold finite numbers of float32, got inf"):
        carry_over(new, stored(infinite), NEW_VOCABULARY)
    assert all(torch.equal(value, before[name]) for name, value in new.state_dict().items())
