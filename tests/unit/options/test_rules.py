import functools

import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.bilm_tf_options import FULL, MINIMAL, with_option


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
        ("char_cnn.filters", [[1, 2], 3], "`char_cnn.filters` must hold pairs [width, number], "),
        (
            "char_cnn.filters",
            [[1, 10**9]],
            "`char_cnn.filters` must hold pairs [width, number], the width at least 1 and the number from 1 to 65536, "
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
        BiLMOptions.from_dict(with_option(FULL, key, value), "my.json")
    assert str(error.value).startswith(f"my.json: {message}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


NESTED = functools.reduce(lambda inner, _: [inner], range(10**4), 1)


@pytest.mark.parametrize(
    "value, text",
    [(10**5000, "<int too large to show>"), (NESTED, "<list too large to show>")],
    ids=["of many digits", "of many levels"],
)
def test_a_value_that_cannot_be_shown_is_refused_too(value, text):
    with pytest.raises(InputError, match=f"`dropout` must be a number at least 0 and below 1, got {text}"):
        BiLMOptions.from_dict({**MINIMAL, "dropout": value})
