import copy
import functools
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.options.bilm_options import (
    BiLMOptions,
    CharacterOptions,
    LstmOptions,
    option_keys,
)

FULL = {
    "bidirectional": True,
    "char_cnn": {
        "activation": "tanh",
        "embedding": {"dim": 4},
        "filters": [[1, 8], [2, 8], [3, 16]],
        "max_characters_per_token": 40,
        "n_characters": 262,
        "n_highway": 1,
    },
    "dropout": 0.1,
    "lstm": {
        "cell_clip": 3,
        "dim": 24,
        "n_layers": 2,
        "proj_clip": 2.5,
        "projection_dim": 12,
        "use_skip_connections": True,
    },
    "all_clip_norm_val": 10.0,
    "n_epochs": 10,
    "n_train_tokens": 1000,
    "batch_size": 128,
    "n_tokens_vocab": 500,
    "unroll_steps": 21,
    "n_negative_samples_batch": 64,
    "sample_softmax": False,
    "learning_rate": 0.1,
    "share_embedding_softmax": False,
}
MINIMAL = {
    "char_cnn": {"activation": "relu", "embedding": {"dim": 4}, "filters": [[1, 8]]},
    "lstm": {"dim": 8, "projection_dim": 4},
}


# What bilm-tf does not have: written only where it changes the model.
OURS = ["lstm.cell", "lstm.layer_norm"]


def changed(base, key, value):
    result = copy.deepcopy(base)
    section = result
    *parents, leaf = key.split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
    section[leaf] = value
    return result


def test_every_key_is_read_and_written():
    options = BiLMOptions.from_dict(FULL)
    assert options.to_dict() == FULL
    assert options.char_cnn == CharacterOptions(4, ((1, 8), (2, 8), (3, 16)), "tanh", 40, 1)
    assert options.lstm == LstmOptions(24, 12, 2, 3, 2.5, True)
    assert (options.bidirectional, options.dropout, options.n_tokens_vocab, options.batch_size) == (True, 0.1, 500, 128)
    assert (options.unroll_steps, options.n_epochs, options.n_train_tokens) == (21, 10, 1000)
    assert (options.all_clip_norm_val, options.n_negative_samples_batch, options.sample_softmax) == (10.0, 64, False)
    assert (options.learning_rate, options.share_embedding_softmax) == (0.1, False)


def test_the_full_example_holds_every_key():
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


def test_a_file_to_load_weights_with_is_bidirectional_unless_it_says_otherwise():
    assert BiLMOptions.from_dict(MINIMAL).bidirectional is True
    assert BiLMOptions.from_dict(changed(MINIMAL, "bidirectional", False)).bidirectional is False


def test_what_bilm_tf_does_not_have_is_written_only_where_it_changes_the_model():
    plain = BiLMOptions.from_dict(changed(changed(FULL, "lstm.cell", "lstm"), "lstm.layer_norm", False))
    assert plain.to_dict() == FULL and plain.beyond_bilm_tf() == []
    gru = changed(changed(FULL, "lstm.cell", "gru"), "lstm.cell_clip", None)
    normed = changed(FULL, "lstm.layer_norm", True)
    for mapping, beyond in ((gru, ["lstm.cell"]), (normed, ["lstm.layer_norm"])):
        options = BiLMOptions.from_dict(mapping)
        assert options.to_dict() == mapping and options.beyond_bilm_tf() == beyond


def test_null_counts_as_left_out():
    mapping = changed(changed(MINIMAL, "lstm.cell_clip", None), "char_cnn.n_highway", None)
    assert BiLMOptions.from_dict(mapping) == BiLMOptions.from_dict(MINIMAL)


def test_keys_that_loaders_require_are_written_without_a_value_of_their_own():
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
    "inference, given_number, expected", [(True, 261, 262), (False, 262, 261), (True, 262, 262), (False, 261, 261)]
)
def test_both_numbers_of_characters_are_read_and_the_wrong_one_warned_of(caplog, inference, given_number, expected):
    mapping = changed(MINIMAL, "char_cnn.n_characters", given_number)
    with caplog.at_level(logging.WARNING):
        options = BiLMOptions.from_dict(mapping, "my.json", inference)
    assert options.to_dict(inference)["char_cnn"]["n_characters"] == expected
    if given_number == expected:
        assert not caplog.records
    else:
        purpose = "to load weights" if inference else "to train"
        assert [record.getMessage() for record in caplog.records] == [
            f"my.json: `char_cnn.n_characters` is {given_number}; it should be {expected} {purpose}, "
            "and is read as such"
        ]


@pytest.mark.parametrize(
    "key, nearest",
    [
        ("lstm.projection", "lstm.projection_dim"),
        ("lstm.n_layer", "lstm.n_layers"),
        ("char_cnn.highway", "char_cnn.n_highway"),
        ("n_highway", "char_cnn.n_highway"),
        ("droput", "dropout"),
        ("char_cnn.embedding.dims", "char_cnn.embedding.dim"),
        ("sampled_softmax", "sample_softmax"),
    ],
)
def test_an_unknown_key_names_the_nearest(key, nearest):
    with pytest.raises(InputError) as error:
        BiLMOptions.from_dict(changed(FULL, key, 3), "my.json")
    assert str(error.value) == f"my.json: unknown option '{key}'; did you mean `{nearest}`?"


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("lstm.dim", 0, "`lstm.dim` must be a whole number from 1 to 65536, got 0"),
        ("lstm.dim", 24.5, "`lstm.dim` must be a whole number from 1 to 65536, got 24.5"),
        ("lstm.dim", float("inf"), "`lstm.dim` must be a whole number from 1 to 65536, got inf"),
        ("lstm.dim", True, "`lstm.dim` must be a whole number from 1 to 65536, got True"),
        ("lstm.dim", 10**12, "`lstm.dim` must be a whole number from 1 to 65536, got 1000000000000"),
        ("lstm.projection_dim", 25, "`lstm.projection_dim` must be at most `lstm.dim`, which is 24, got 25"),
        ("lstm.n_layers", 100000, "`lstm.n_layers` must be a whole number from 1 to 64, got 100000"),
        ("lstm.cell_clip", 0, "`lstm.cell_clip` must be a number above 0, got 0"),
        ("lstm.proj_clip", "3", "`lstm.proj_clip` must be a number above 0, got '3'"),
        ("lstm.use_skip_connections", 1, "`lstm.use_skip_connections` must be true or false, got 1"),
        ("dropout", 1, "`dropout` must be a number at least 0 and below 1, got 1"),
        ("dropout", float("nan"), "`dropout` must be a number at least 0 and below 1, got nan"),
        ("learning_rate", float("inf"), "`learning_rate` must be a number above 0, got inf"),
        ("learning_rate", 10**400, "`learning_rate` must be a number above 0, got 1" + "0" * 56 + "..."),
        ("char_cnn.activation", "gelu", "`char_cnn.activation` must be one of relu, tanh, got 'gelu'"),
        ("char_cnn.activation", ["relu"], "`char_cnn.activation` must be one of relu, tanh, got ['relu']"),
        ("char_cnn.filters", [], "`char_cnn.filters` must be a list of 1 to 64 pairs [width, number], got []"),
        ("char_cnn.filters", [[1, 2], 3], "`char_cnn.filters` must hold pairs [width, number], got 3"),
        (
            "char_cnn.filters",
            [[1, 10**9]],
            "`char_cnn.filters` must hold pairs of a width of at least 1 and a number from 1 to 65536, "
            "got [1, 1000000000]",
        ),
        (
            "char_cnn.filters",
            [[41, 2]],
            "`char_cnn.filters` must be no wider than the 40 characters of `char_cnn.max_characters_per_token`, "
            "got width 41",
        ),
        ("char_cnn.n_characters", 60, "`char_cnn.n_characters` must be 262 to load weights, got 60"),
        ("char_cnn.n_characters", 262.5, "`char_cnn.n_characters` must be 262 to load weights, got 262.5"),
        (
            "share_embedding_softmax",
            True,
            "`share_embedding_softmax` needs word input: leave it out, or leave out `char_cnn`",
        ),
        ("lstm", [1], "`lstm` must be an object of options, got [1]"),
        ("lstm.cell", "GRU", "`lstm.cell` must be one of lstm, gru, rnn, got 'GRU'"),
        ("lstm.cell", "gru", "`lstm.cell_clip` needs `lstm.cell` lstm: leave it out, got `lstm.cell` gru"),
        (
            "lstm",
            {"dim": 8, "projection_dim": 4, "cell": "rnn", "layer_norm": True},
            "`lstm.layer_norm` needs `lstm.cell` lstm: leave it out, got `lstm.cell` rnn",
        ),
        ("lstm", None, "`lstm` is missing"),
        ("char_cnn", {}, "`char_cnn.embedding.dim` is missing"),
        ("dropout", {"rate": 1}, "`dropout` must be a number at least 0 and below 1, got {'rate': 1}"),
        ("n_tokens_vocab", "a\nb" * 50, "`n_tokens_vocab` must be a whole number from 1 to 2147483647, got 'a\\nba"),
    ],
)
def test_a_value_out_of_range_is_named_in_one_line(key, value, message):
    with pytest.raises(InputError) as error:
        BiLMOptions.from_dict(changed(FULL, key, value), "my.json")
    assert str(error.value).startswith(f"my.json: {message}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


def test_a_key_with_dots_does_not_say_again_what_a_section_says():
    with pytest.raises(InputError) as error:
        BiLMOptions.from_dict({**FULL, "lstm.dim": 4096}, "my.json")
    assert str(error.value) == "my.json: unknown option 'lstm.dim'; sections are objects of their own"


def test_a_key_as_long_as_a_file_is_answered_like_any_other(caplog):
    with pytest.raises(InputError) as error:
        BiLMOptions.from_dict(changed(FULL, "lstm.droput" + "\n" * 10**6, 1), "my.json")
    assert str(error.value).startswith(r"my.json: unknown option 'lstm.droput\n\n") and len(str(error.value)) < 250
    with caplog.at_level(logging.WARNING):
        BiLMOptions.from_dict({**FULL, "droput" + "\n" * 10**6: 1}, "my.json")
    assert caplog.messages[0].startswith(r"my.json: the option 'droput\n\n") and len(caplog.messages[0]) < 250


@pytest.mark.parametrize("key, value", [("optimizer", "adagrad"), ("comment", 3), ("gpu_ids", [0, 1]), ("seed", 1)])
def test_an_unknown_key_that_cannot_change_the_model_is_warned_of(caplog, key, value):
    with caplog.at_level(logging.WARNING):
        assert BiLMOptions.from_dict({**FULL, key: value}, "my.json") == BiLMOptions.from_dict(FULL)
    assert caplog.messages == [f"my.json: the option '{key}' is not known, and is ignored"]


def test_the_keys_of_a_rewrite_of_bilm_tf_are_warned_of_where_weights_are_loaded(caplog):
    mapping = changed({**FULL, "clip_grad_norm": 1.0, "lr_decay_steps": 9}, "char_cnn.projection", 12)
    mapping["n_train_tokens"] = 768648884.0
    with caplog.at_level(logging.WARNING):
        options = BiLMOptions.from_dict(mapping, "my.json")
    assert options == BiLMOptions.from_dict({**FULL, "n_train_tokens": 768648884})
    ignored = [
        f"my.json: the option '{key}' is not known, and is ignored"
        for key in ("char_cnn.projection", "clip_grad_norm", "lr_decay_steps")
    ]
    assert caplog.messages == [*ignored, "my.json: `n_train_tokens` is 768648884.0; it is read as 768648884"]
    with pytest.raises(InputError, match="unknown option 'char_cnn.projection'; did you mean `lstm.projection_dim`?"):
        BiLMOptions.from_dict(mapping, "my.json", inference=False)


@pytest.mark.parametrize(
    "key, value", [("lstm.peepholes", True), ("char_cnn.padding", 1), ("transformer", {"heads": 8})]
)
def test_an_unknown_key_that_could_change_the_model_is_refused_without_a_guess(key, value):
    with pytest.raises(InputError) as error:
        BiLMOptions.from_dict(changed(FULL, key, value), "my.json")
    assert str(error.value) == f"my.json: unknown option '{key}', which could change the model's shape"


@pytest.mark.parametrize(
    "key, value, same",
    [
        ("lstm.dim", 24.0, 24),
        ("n_tokens_vocab", 5e2, 500),
        ("char_cnn.n_characters", 262.0, 262),
        ("char_cnn.filters", [[1.0, 8], [2, 8.0], [3, 16]], [[1, 8], [2, 8], [3, 16]]),
    ],
)
def test_a_float_without_a_fraction_is_read_as_an_integer_with_a_warning(caplog, key, value, same):
    with caplog.at_level(logging.WARNING):
        options = BiLMOptions.from_dict(changed(FULL, key, value), "my.json")
    assert repr(options) == repr(BiLMOptions.from_dict(changed(FULL, key, same)))
    assert caplog.messages == [f"my.json: `{key}` is {value}; it is read as {same}"]


NESTED = functools.reduce(lambda inner, _: [inner], range(10**4), 1)


@pytest.mark.parametrize(
    "value, text",
    [(10**5000, "<int too large to show>"), (NESTED, "<list too large to show>")],
    ids=["of many digits", "of many levels"],
)
def test_a_value_that_cannot_be_shown_is_refused_all_the_same(value, text):
    with pytest.raises(InputError, match=f"`dropout` must be a number at least 0 and below 1, got {text}"):
        BiLMOptions.from_dict({**MINIMAL, "dropout": value})


@pytest.mark.parametrize(
    "key, value, part",
    [
        ("char_cnn.filters", [[7, 60000]], "`char_cnn.n_highway`"),
        ("n_tokens_vocab", 2**31 - 1, "`n_tokens_vocab`"),
        ("lstm", {"dim": 65536, "projection_dim": 65536}, "`lstm`"),
    ],
)
def test_sizes_that_add_up_to_too_much_are_refused_before_anything_is_allocated(key, value, part):
    with pytest.raises(
        InputError, match=f"must add up to at most 4,294,967,296 parameters, got .*, of which .* through {part}"
    ):
        BiLMOptions.from_dict(changed(FULL, key, value))


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
        options = BiLMOptions.from_dict(changed(FULL, key, value))
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert BiLMOptions.from_dict(options.to_dict()) == options
