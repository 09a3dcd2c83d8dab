import dataclasses
import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.export import check_exportable
from allennlp_elmo_plus.formats.name_table import conversion_table
from allennlp_elmo_plus.options import rules
from allennlp_elmo_plus.options.bilm_options import BiLMOptions, CharacterOptions, LstmOptions, option_keys
from tests.helpers.bilm_tf_options import FULL, MINIMAL, with_option

# Options that bilm-tf does not have. They are written only if they change the model.
OURS = [
    field.metadata["key"]
    for part in (CharacterOptions, LstmOptions, BiLMOptions)
    for field in dataclasses.fields(part)
    if not field.metadata.get("in_bilm_tf", True)
]


@dataclass(frozen=True)
class OptionsWithWarmUp(BiLMOptions):
    """The options with one more, which bilm-tf does not have and which affects only the training."""

    warm_up: int = rules.option("warm_up", rules.integer(0, 9), default=0, in_bilm_tf=False)


def test_every_key_is_read_and_written():
    options = BiLMOptions.from_dict(FULL)
    assert options.to_dict() == FULL
    assert options.char_cnn == CharacterOptions(4, ((1, 8), (2, 8), (3, 16)), "tanh", 40, 1)
    assert options.lstm == LstmOptions(24, 12, 2, 3, 2.5, True)
    assert (options.bidirectional, options.dropout, options.n_tokens_vocab, options.batch_size) == (True, 0.1, 500, 128)
    assert (options.unroll_steps, options.n_epochs, options.n_train_tokens) == (21, 10, 1000)
    assert (options.all_clip_norm_val, options.n_negative_samples_batch, options.sample_softmax) == (10.0, 64, False)
    assert (options.learning_rate, options.share_embedding_softmax) == (0.1, False)


def test_the_full_options_have_every_key():
    def keys(mapping, prefix=""):
        for name, value in mapping.items():
            yield from keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]

    assert sorted([*keys(FULL), *OURS]) == sorted(option_keys())


def test_defaults_are_those_of_bilm_tf():
    options = BiLMOptions.from_dict(MINIMAL, inference=False)
    assert options.bidirectional is False
    assert options.char_cnn.max_characters == 50
    assert options.char_cnn.n_highway == 0
    assert (options.lstm.n_layers, options.lstm.cell_clip, options.lstm.proj_clip) == (1, None, None)
    assert options.lstm.use_skip_connections is False
    assert options.unroll_steps == 20
    assert options.n_train_tokens == 768648884
    assert options.n_negative_samples_batch == 8192
    assert options.sample_softmax is True
    assert options.learning_rate == 0.2
    assert options.share_embedding_softmax is False
    assert BiLMOptions.from_dict({"lstm": {"dim": 8, "projection_dim": 4}}).char_cnn is None


def test_a_file_for_loading_weights_is_bidirectional_by_default():
    assert BiLMOptions.from_dict(MINIMAL).bidirectional is True
    assert BiLMOptions.from_dict(with_option(MINIMAL, "bidirectional", False)).bidirectional is False


def test_options_that_bilm_tf_lacks_are_written_only_if_they_change_the_model():
    plain = BiLMOptions.from_dict(with_option(with_option(FULL, "lstm.cell", "lstm"), "lstm.layer_norm", False))
    assert plain.to_dict() == FULL and plain.beyond_bilm_tf() == []
    gru = with_option(with_option(FULL, "lstm.cell", "gru"), "lstm.cell_clip", None)
    normed = with_option(FULL, "lstm.layer_norm", True)
    for mapping, beyond in ((gru, ["lstm.cell"]), (normed, ["lstm.layer_norm"])):
        options = BiLMOptions.from_dict(mapping)
        assert options.to_dict() == mapping and options.beyond_bilm_tf() == beyond


def test_an_option_of_the_training_alone_is_written_and_refuses_no_export_and_no_weights():
    options = OptionsWithWarmUp(lstm=LstmOptions(8, 4), bidirectional=True, warm_up=3)
    plain = dataclasses.replace(options, warm_up=0)
    assert options.to_dict() == {**plain.to_dict(), "warm_up": 3} and "warm_up" not in plain.to_dict()
    assert options.beyond_bilm_tf() == [] and options.architecture() == plain.architecture()
    check_exportable(options)
    conversion_table(options, vocab_size=9)


def test_keys_that_loaders_require_are_written_at_their_defaults():
    written = BiLMOptions.from_dict(MINIMAL).to_dict()
    assert written["lstm"] == {
        "dim": 8,
        "projection_dim": 4,
        "n_layers": 1,
        "cell_clip": None,
        "proj_clip": None,
        "use_skip_connections": False,
    }
    assert written["char_cnn"]["n_highway"] == 0
    assert "batch_size" not in written


@pytest.mark.parametrize(
    "key, value, part",
    [
        ("char_cnn.filters", [[7, 60000]], "`char_cnn.n_highway`"),
        ("n_tokens_vocab", 2**31 - 1, "`n_tokens_vocab`"),
        ("lstm", {"dim": 65536, "projection_dim": 65536}, "`lstm`"),
    ],
)
def test_too_many_parameters_are_refused_before_memory_is_allocated(key, value, part):
    with pytest.raises(
        InputError, match=f"must add up to at most 4,294,967,296 parameters, got .*, of which .* through {part}"
    ):
        BiLMOptions.from_dict(with_option(FULL, key, value))


def test_the_parameters_of_the_published_model_are_counted():
    filters = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]]
    mapping = {
        "lstm": {"dim": 4096, "projection_dim": 512, "n_layers": 2},
        "char_cnn": {"activation": "relu", "embedding": {"dim": 16}, "filters": filters, "n_highway": 2},
    }
    assert sum(BiLMOptions.from_dict(mapping).parameter_counts().values()) == pytest.approx(93.6e6, rel=1e-3)
    with_softmax = BiLMOptions.from_dict({**mapping, "n_tokens_vocab": 793471}).parameter_counts()
    assert with_softmax["`n_tokens_vocab`"] == 793471 * 513


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"lstm": {"dim": 3, "dim": 4}}', "the key 'dim' comes twice"),
        (b'{"lstm": ', "must be JSON in UTF-8: "),
        (b"\xff\xfe", "must be JSON in UTF-8: "),
        (b"[" * 100000, "must be JSON in UTF-8: "),
        (b"[1]", "must hold a JSON object, got [1]"),
        (b" " * (2**20 + 1), "must be at most 1,048,576 bytes of JSON, got more"),
        (b'{"dropout": 0.1}', "`lstm` is missing"),
    ],
)
def test_a_file_that_is_no_options_file_is_named(tmp_path, content, message):
    path = tmp_path / "options.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        BiLMOptions.from_file(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.json: cannot be read: No such file or directory"):
        BiLMOptions.from_file(tmp_path / "nowhere.json")


def test_what_is_written_to_a_file_is_read_back(tmp_path):
    path = tmp_path / "options.json"
    path.write_text(json.dumps(BiLMOptions.from_dict(FULL).to_dict()))
    assert BiLMOptions.from_file(path) == BiLMOptions.from_dict(FULL)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dim", "x", "embedding"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(key=st.sampled_from(option_keys() + ["lstm", "char_cnn", "char_cnn.embedding"]), value=JSON)
def test_any_value_is_either_read_or_refused_in_one_line(key, value):
    try:
        options = BiLMOptions.from_dict(with_option(FULL, key, value))
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert BiLMOptions.from_dict(options.to_dict()) == options
