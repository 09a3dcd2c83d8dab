import logging

import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.bilm_tf_options import FULL, MINIMAL, with_option


def test_null_counts_as_missing():
    mapping = with_option(with_option(MINIMAL, "lstm.cell_clip", None), "char_cnn.n_highway", None)
    assert BiLMOptions.from_dict(mapping) == BiLMOptions.from_dict(MINIMAL)


@pytest.mark.parametrize(
    "inference, number, expected", [(True, 261, 262), (False, 262, 261), (True, 262, 262), (False, 261, 261)]
)
def test_both_numbers_of_characters_are_read_and_the_wrong_number_gives_a_warning(caplog, inference, number, expected):
    mapping = with_option(MINIMAL, "char_cnn.n_characters", number)
    with caplog.at_level(logging.WARNING):
        options = BiLMOptions.from_dict(mapping, "my.json", inference)
    assert options.to_dict(inference)["char_cnn"]["n_characters"] == expected
    if number == expected:
        assert not caplog.records
    else:
        purpose = "to load weights" if inference else "to train"
        assert [record.getMessage() for record in caplog.records] == [
            f"my.json: `char_cnn.n_characters` is {number}; it should be {expected} {purpose}, and is read as such"
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
def test_the_message_for_an_unknown_key_names_the_most_similar_key(key, nearest):
    with pytest.raises(InputError) as error:
        BiLMOptions.from_dict(with_option(FULL, key, 3), "my.json")
    assert str(error.value) == f"my.json: unknown option '{key}'; did you mean `{nearest}`?"


def test_a_key_with_dots_is_refused():
    with pytest.raises(InputError) as error:
        BiLMOptions.from_dict({**FULL, "lstm.dim": 4096}, "my.json")
    assert str(error.value) == "my.json: unknown option 'lstm.dim'; sections are objects of their own"


def test_the_message_for_a_very_long_key_is_short(caplog):
    with pytest.raises(InputError) as error:
        BiLMOptions.from_dict(with_option(FULL, "lstm.droput" + "\n" * 10**6, 1), "my.json")
    assert str(error.value).startswith(r"my.json: unknown option 'lstm.droput\n\n") and len(str(error.value)) < 250
    with caplog.at_level(logging.WARNING):
        BiLMOptions.from_dict({**FULL, "droput" + "\n" * 10**6: 1}, "my.json")
    assert caplog.messages[0].startswith(r"my.json: the option 'droput\n\n") and len(caplog.messages[0]) < 250


@pytest.mark.parametrize("key, value", [("optimizer", "adagrad"), ("comment", 3), ("gpu_ids", [0, 1]), ("seed", 1)])
def test_an_unknown_key_that_cannot_change_the_model_is_ignored_with_a_warning(caplog, key, value):
    with caplog.at_level(logging.WARNING):
        assert BiLMOptions.from_dict({**FULL, key: value}, "my.json") == BiLMOptions.from_dict(FULL)
    assert caplog.messages == [f"my.json: the option '{key}' is not known, and is ignored"]


def test_the_keys_of_a_rewrite_of_bilm_tf_are_warned_of_where_weights_are_loaded(caplog):
    mapping = with_option({**FULL, "clip_grad_norm": 1.0, "lr_decay_steps": 9}, "char_cnn.projection", 12)
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
        BiLMOptions.from_dict(with_option(FULL, key, value), "my.json")
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
        options = BiLMOptions.from_dict(with_option(FULL, key, value), "my.json")
    assert repr(options) == repr(BiLMOptions.from_dict(with_option(FULL, key, same)))
    assert caplog.messages == [f"my.json: `{key}` is {value}; it is read as {same}"]
