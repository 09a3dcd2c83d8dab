"""What docs/old_configs.md says of configs of AllenNLP 0.8."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch
from allennlp.data.tokenizers import Token
from allennlp.models import load_archive
from allennlp.training import GradientDescentTrainer

import allennlp_elmo_plus.plugin  # noqa: F401

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "old_configs.md").read_text("utf-8")
FIXTURE = {
    name: str(ROOT / "fixtures" / file)
    for name, file in [("options_file", "options.json"), ("weight_file", "weights.hdf5")]
}
ELMO_WIDTH = 10


@pytest.fixture(autouse=True)
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory with train.txt and dev.txt, in the columns of CoNLL-2003."""
    monkeypatch.chdir(tmp_path)
    sentences = [
        f"the DT I-NP O\n{river} NNP I-NP I-LOC\nrises VBZ I-VP O\n\n" for river in ("Rhine", "Elbe", "Po", "Don")
    ]
    for name in ("train.txt", "dev.txt"):
        Path(name).write_text("".join(sentences), encoding="utf-8")


def small_config(**trainer: Any) -> dict[str, Any]:
    """Return a config for AllenNLP's own tagger, with AllenNLP's ELMo and this package's in one model."""
    return {
        "dataset_reader": {
            "type": "conll2003",
            "token_indexers": {
                "tokens": {"type": "single_id"},
                "theirs": {"type": "elmo_characters"},
                "ours": {"type": "bilm_characters"},
            },
        },
        "train_data_path": "train.txt",
        "validation_data_path": "dev.txt",
        "model": {
            "type": "simple_tagger",
            "text_field_embedder": {
                "token_embedders": {
                    "tokens": {"type": "embedding", "embedding_dim": 3},
                    "theirs": {"type": "elmo_token_embedder", **FIXTURE},
                    "ours": {"type": "bilm", **FIXTURE},
                }
            },
            "encoder": {"type": "lstm", "input_size": 3 + 2 * ELMO_WIDTH, "hidden_size": 4},
        },
        "data_loader": {"batch_size": 2},
        "trainer": {"num_epochs": 1, "cuda_device": -1, **trainer},
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the small config with another value at `path`, keys separated by dots."""
    config = part = small_config()
    *parents, last = path.split(".")
    for key in parents:
        part = part.setdefault(key, {})
    part[last] = value
    return config


def test_the_new_config_of_the_page_trains_a_crf_tagger() -> None:
    pytest.importorskip("allennlp_models.tagging")
    (block,) = re.findall(r"^```jsonnet\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    Path("ner.jsonnet").write_text(block, encoding="utf-8")
    overrides = {
        **{f"model.text_field_embedder.token_embedders.elmo.{name}": path for name, path in FIXTURE.items()},
        "model.encoder.input_size": 1202 - 1024 + ELMO_WIDTH,
        "trainer.num_epochs": 1,
        "trainer.cuda_device": -1,
    }
    train_model(Params.from_file("ner.jsonnet", json.dumps(overrides)), "out")
    metrics = json.loads(Path("out/metrics.json").read_text("utf-8"))
    assert {"validation_f1-measure-overall", "training_reg_loss"} <= set(metrics)
    tags = load_archive("out/model.tar.gz").model.vocab.get_token_to_index_vocabulary("labels")
    assert set(tags) == {"O", "U-LOC"}


def test_elmo_of_allennlp_and_ours_run_in_one_model() -> None:
    train_model(Params(small_config()), "out")
    archive = load_archive("out/model.tar.gz")
    embedders = archive.model.text_field_embedder.eval()
    theirs, ours = embedders.token_embedder_theirs, embedders.token_embedder_ours
    theirs._elmo.scalar_mix_0.load_state_dict(ours._elmo.scalar_mix_0.state_dict())
    instance = archive.dataset_reader.text_to_instance([Token(word) for word in "the Rhine rises".split()])
    archive.dataset_reader.apply_token_indexers(instance)
    batch = Batch([instance])
    batch.index_instances(archive.model.vocab)
    ids = batch.as_tensor_dict()["tokens"]
    with torch.no_grad():
        torch.testing.assert_close(ours(**ids["ours"]), theirs(**ids["theirs"]), rtol=0, atol=1e-6)


def test_old_keys_of_the_trainer_are_ignored() -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| any old key of `trainer`")]
    keys = re.findall(r"`(\w+)`", row.partition("|")[2].partition(", and")[0])[1:]
    assert len(keys) == 9
    known = inspect.signature(GradientDescentTrainer.from_partial_objects).parameters
    assert not set(keys) & set(known)
    train_model(Params(small_config(**dict.fromkeys(keys, 1))), "out")


def test_the_embedding_of_characters_has_a_row_for_each_word_without_a_namespace() -> None:
    embedder = {
        "type": "character_encoding",
        "embedding": {"embedding_dim": 2},
        "encoder": {"type": "cnn", "embedding_dim": 2, "num_filters": 1},
    }
    config = changed("model.text_field_embedder.token_embedders.tokens", embedder)
    config["dataset_reader"]["token_indexers"]["tokens"] = {"type": "characters", "min_padding_length": 5}
    config["model"]["encoder"]["input_size"] = 4 + 2 * ELMO_WIDTH
    with pytest.raises(IndexError, match="index out of range in self"):
        train_model(Params(config), "out")


BASIC = {"type": "basic", "batch_size": 2}
PAIRS = {"batch_sampler": {"type": "bucket", "batch_size": 2, "sorting_keys": [["tokens", "num_tokens"]]}}
BIGGEST_FIRST = {"batch_sampler": {"type": "bucket", "batch_size": 2, "biggest_batch_first": True}}
FIELD = "model.text_field_embedder"


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("iterator", BASIC, "Extra parameters passed to TrainModel"),
        ("validation_iterator", BASIC, "Extra parameters passed to TrainModel"),
        ("dataset_reader.lazy", False, "unexpected keyword argument 'lazy'"),
        ("data_loader", PAIRS, "Expected sorting_keys.0 to be a string"),
        ("data_loader", BIGGEST_FIRST, "Extra parameters passed to BucketBatchSampler"),
        ("data_loader.cache_instances", True, "Extra parameters passed to MultiProcessDataLoader"),
        ("data_loader.instances_per_epoch", 2, "Extra parameters passed to MultiProcessDataLoader"),
        (FIELD, {"tokens": {"type": "embedding"}}, 'key "token_embedders" is required'),
        (f"{FIELD}.allow_unmatched_keys", False, "Extra parameters passed to BasicTextFieldEmbedder"),
        (f"{FIELD}.embedder_to_indexer_map", {}, "Extra parameters passed to BasicTextFieldEmbedder"),
        (f"{FIELD}.token_embedders.theirs.namespace_to_cache", "x", "Extra parameters passed to ElmoTokenEmbedder"),
        ("model.regularizer", [["weight", {"type": "l2", "alpha": 0.1}]], "a `params` object that was not a `Params`"),
        ("model.initializer", [["weight", {"type": "zero"}]], "a `params` object that was not a `Params`"),
        ("vocabulary", {"directory_path": "vocabulary"}, "Extra parameters passed to Vocabulary"),
        ("vocabulary", {"extend": True}, "Extra parameters passed to Vocabulary"),
        ("trainer.type", "default", "default not in acceptable choices"),
    ],
)
def test_old_keys_that_are_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises((ConfigurationError, TypeError), match=message):
        train_model(Params(changed(path, value)), "out")
