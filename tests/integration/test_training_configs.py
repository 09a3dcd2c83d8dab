"""The configs in training_config/."""

from pathlib import Path

import pytest
import torch
from allennlp.common import Params

from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

CONFIGS = Path(__file__).resolve().parents[2] / "training_config"
PRETRAINING = ["bilm", "bilm_words", "finetune", "wikitext2", "bilm_small", "bilm_medium", "bilm_original"]


def read(name: str) -> dict:
    return Params.from_file(CONFIGS / f"{name}.jsonnet").as_dict(quiet=True)


def test_every_config_is_tested() -> None:
    assert {path.stem for path in CONFIGS.glob("*.jsonnet")} == {*PRETRAINING, "pos_tagger", "sentences", "sequences"}


@pytest.mark.parametrize("name", PRETRAINING)
def test_the_parts_of_a_pretraining_config_agree(name: str) -> None:
    config = read(name)
    model, loader, trainer = config["model"], config["data_loader"], config["trainer"]
    options = {key: value for key, value in model.items() if key not in ("type", "pretrained_file")}
    BiLMOptions.from_dict(options, source=name, inference=False)
    assert loader["batch_size"] == model["batch_size"] and loader["num_steps"] == model["unroll_steps"] == 20
    assert loader["n_negative_samples_batch"] == model["n_negative_samples_batch"]
    assert trainer["num_epochs"] == model["n_epochs"]
    assert trainer["optimizer"]["lr"] == model["learning_rate"] == 0.2
    assert trainer["optimizer"]["max_norm"] == model["all_clip_norm_val"] == 10.0
    assert trainer["optimizer"]["initial_accumulator_value"] == 1.0
    # The held-out text is one stream: see the comment in the config.
    assert config["validation_data_loader"]["batch_size"] == 1
    # AllenNLP's own clip needs dense gradients, which are slow for a large vocabulary.
    assert "grad_norm" not in trainer and "grad_clipping" not in trainer
    indexers = config["dataset_reader"]["token_indexers"]
    widths = [indexer["max_characters_per_token"] for key, indexer in indexers.items() if key == "characters"]
    assert widths == ([model["char_cnn"]["max_characters_per_token"]] if "char_cnn" in model else [])


def test_the_config_of_sentences_differs_from_the_default_only_in_its_loaders() -> None:
    ours, default = read("sentences"), read("bilm")
    loader, held_out = ours.pop("data_loader"), ours.pop("validation_data_loader")
    assert loader == {"type": "bilm_sentences", "batch_tokens": 640, "n_negative_samples_batch": 512}
    assert held_out == {"type": "bilm_sentences", "batch_tokens": 640, "shuffle": False}
    lanes = default.pop("data_loader")
    assert lanes["batch_size"] * lanes["num_steps"] == loader["batch_tokens"]
    del default["validation_data_loader"]
    assert ours == default


def test_sequences_have_longer_windows_and_a_full_softmax() -> None:
    config = read("sequences")
    model, loader = config["model"], config["data_loader"]
    assert loader["num_steps"] == model["unroll_steps"] == 100
    # More samples than there are letters, so that nothing is sampled.
    assert loader["n_negative_samples_batch"] == model["n_negative_samples_batch"] > 26 + 2 + 3
    assert config["vocabulary"] == {"type": "bilm"}
    assert max(width for width, _ in model["char_cnn"]["filters"]) == 3


@pytest.mark.parametrize("name, millions", [("bilm_small", 13.6), ("bilm_medium", 28.0), ("bilm_original", 93.6)])
def test_configs_have_the_sizes_of_the_released_models(name: str, millions: float) -> None:
    options = {key: value for key, value in read(name)["model"].items() if key != "type"}
    with torch.device("meta"):
        encoder = build_encoder(BiLMOptions.from_dict(options, source=name, inference=False))
    # AllenNLP adds a row of zeros for padding, which these models do not have.
    assert sum(parameter.numel() for parameter in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_config_of_words_shares_their_vectors_with_the_softmax() -> None:
    model = read("bilm_words")["model"]
    assert "char_cnn" not in model and model["share_embedding_softmax"]
    assert model["lstm"] == read("bilm")["model"]["lstm"]


def test_the_fine_tuning_config_continues_the_model_of_the_default_config() -> None:
    tuned, model = read("finetune")["model"], read("bilm")["model"]
    assert tuned.pop("pretrained_file") == "runs/bilm/model.tar.gz"
    assert tuned == model


def test_the_original_config_has_the_sizes_of_the_paper() -> None:
    model = read("bilm_original")["model"]
    assert (model["lstm"]["dim"], model["lstm"]["projection_dim"]) == (4096, 512)
    assert (model["batch_size"], model["n_negative_samples_batch"]) == (128, 8192)
    assert sum(number for _, number in model["char_cnn"]["filters"]) == 2048


def test_the_wikitext2_config_has_the_settings_of_the_reported_perplexity() -> None:
    config = read("wikitext2")
    model = config["model"]
    assert (model["lstm"]["dim"], model["lstm"]["projection_dim"]) == (512, 128)
    assert model["char_cnn"]["filters"] == [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]]
    assert (model["char_cnn"]["n_highway"], model["dropout"], model["n_negative_samples_batch"]) == (1, 0.1, 1024)
    assert (model["batch_size"], model["n_epochs"], config["vocabulary"]["min_count"]) == (32, 2, 2)
    assert model["lstm"]["cell_clip"] == model["lstm"]["proj_clip"] == 3


def test_the_taggers_input_size_is_the_default_models_output_size() -> None:
    tagger, width = read("pos_tagger"), read("bilm")["model"]["lstm"]["projection_dim"]
    assert tagger["model"]["encoder"]["input_size"] == 2 * width
