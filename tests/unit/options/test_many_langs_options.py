"""The config of ELMoForManyLangs, and each of its mistakes refused by name."""

from typing import Any

import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.options.many_langs_options import ManyLangsOptions, parse_options
from tests.helpers.many_langs_models import CONFIG

ENCODER, TOKEN_EMBEDDER = {**CONFIG["encoder"], "cell_clip": 3, "proj_clip": 3}, CONFIG["token_embedder"]


def parse(encoder: Any = None, **token_embedder: Any) -> ManyLangsOptions:
    config = {
        "encoder": {**ENCODER, **(encoder or {})},
        "token_embedder": {**TOKEN_EMBEDDER, **token_embedder},
        "dropout": 0.1,
    }
    return ManyLangsOptions.from_dict(config, "config")


def test_a_config_is_read() -> None:
    options = parse()
    assert options == ManyLangsOptions(3, 4, ((1, 4), (3, 5)), "relu", 2, 12, 10, 6, 2, 3, 3)
    assert parse({"cell_clip": None}).cell_clip is None


def test_a_config_is_told_from_an_options_json() -> None:
    assert parse_options({"encoder": ENCODER, "token_embedder": TOKEN_EMBEDDER}, "x") == parse()
    assert isinstance(parse_options({"config_path": "x/cnn_50_100_512_4096_sample.json"}, "x"), ManyLangsOptions)
    assert isinstance(parse_options({"lstm": {"dim": 4, "projection_dim": 2}}, "x"), BiLMOptions)


@pytest.mark.parametrize(
    "mapping, message",
    [
        ({}, "`config_path` must be the path of a config, got None"),
        ({"config_path": ["a"]}, "`config_path` must be the path of a config, got ['a']"),
        ({"config_path": "a/.."}, "`config_path` must be the path of a config, got 'a/..'"),
        ({"config_path": "/x/y.json"}, "or cnn_0_100_512_4096_sample.json, got 'y.json'"),
        ({"encoder": ENCODER}, "`token_embedder` must be an object of options, got None"),
    ],
)
def test_a_mapping_without_its_sections_is_refused(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        ManyLangsOptions.from_dict(mapping, "config")
    assert str(error.value).startswith("config: `") and str(error.value).endswith(message)


@pytest.mark.parametrize(
    "encoder, token_embedder, message",
    [
        ({"name": "lstm"}, {}, "`encoder.name` must be elmo, got 'lstm'"),
        ({}, {"name": "lstm"}, "`token_embedder.name` must be cnn, got 'lstm'"),
        ({"dim": 0}, {}, "`encoder.dim` must be a whole number from 1 to 65536, got 0"),
        ({"cell_clip": 0}, {}, "`encoder.cell_clip` must be a number above 0, got 0"),
        ({}, {"word_dim": None}, "`token_embedder.word_dim` must be a whole number from 0 to 65536, got None"),
        ({}, {"filters": [[13, 2]]}, "`token_embedder.max_characters_per_token`, 12, got width 13"),
        ({}, {"activation": "gelu"}, "`token_embedder.activation` must be one of relu, tanh, got 'gelu'"),
        ({}, {"word_dim": 0, "char_dim": 0}, "must be above 0, got 0 for both"),
    ],
)
def test_a_value_out_of_range_is_refused(encoder: Any, token_embedder: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(encoder, **token_embedder)
    assert str(error.value).startswith("config: `") and message in str(error.value)


def test_a_missing_key_is_named() -> None:
    config = {"encoder": {"name": "elmo"}, "token_embedder": TOKEN_EMBEDDER}
    with pytest.raises(InputError, match="config: `encoder.dim` is missing"):
        ManyLangsOptions.from_dict(config, "config")
