"""Small models to export, with options that bilm-tf's loader, AllenNLP's loader or neither can load."""

from typing import Any

import torch

from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.small_text import small_model_config

OPTIONS: dict[str, Any] = {
    "bidirectional": True,
    "char_cnn": {"activation": "relu", "embedding": {"dim": 4}, "filters": [[1, 6], [2, 10]], "n_highway": 1},
    "lstm": {**small_model_config()["lstm"], "dim": 12},
    "dropout": 0.1,
}
WORDS = ["<S>", "</S>", "<UNK>", "the", "cat", "나비"]


def changed(section: str, **values: Any) -> BiLMOptions:
    """Return `OPTIONS` with other values in the section "lstm" or "char_cnn"."""
    return BiLMOptions.from_dict({**OPTIONS, section: {**OPTIONS[section], **values}})


USUAL = BiLMOptions.from_dict(OPTIONS)
NO_SKIP = changed("lstm", use_skip_connections=False)
FEW_FILTERS = changed("char_cnn", filters=[[1, 7]])
WORD_INPUT = BiLMOptions.from_dict({**OPTIONS, "char_cnn": None})
FEW_CHARACTERS = changed("char_cnn", max_characters_per_token=40)
MANY_CHARACTERS = changed("char_cnn", max_characters_per_token=70)
ONE_DIRECTION = BiLMOptions.from_dict({**OPTIONS, "bidirectional": False})


def trained(options: BiLMOptions) -> LanguageModel:
    """Return a model with weights as large as training makes them; with initial weights, a wrong gate changes little."""
    torch.manual_seed(4)
    model = build_language_model(options, len(WORDS))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model
