"""Train AllenNLP classifiers over a biLM, and measure them."""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from allennlp.commands.train import TrainModel
from allennlp.common import Params
from allennlp.common import logging as allennlp_logging
from allennlp.common.util import prepare_environment
from allennlp.data import Batch, DatasetReader, Instance
from allennlp.models import Model

from examples.petitions import components  # noqa: F401 (registers the parts that the config names)
from examples.petitions.scores import measure, named
from examples.petitions.vectors import POOLINGS

CONFIGS = Path(__file__).parent
_BATCH_SIZE = 64


class Variant(NamedTuple):
    """A classifier over stored vectors.

    Args:
        pooling: how the words are pooled, a pooling of `classifier.jsonnet`; or one of `POOLINGS`, whose vectors are pooled before the
            layers are mixed.
        mix: how the layers are mixed, see `StoredVectors`.
        rnn: where an RNN gets the vectors: "none", "input" or "input_and_output".
    """

    pooling: str
    mix: str = "gamma"
    rnn: str = "none"


def train_classifier(directory: Path, variant: Variant, seed: int, overrides: Mapping[str, Any]) -> dict[str, float]:
    """Train a classifier over the stored vectors in `directory`; return its figures.

    Args:
        overrides: options of `classifier.jsonnet`, in place of those in the file.
    """
    is_pooled = variant.pooling in POOLINGS
    data = directory / (f"pooled_{variant.pooling}" if is_pooled else "vectors")
    embedder = {"vectors_file": str(data / "vectors.npy"), "mix": variant.mix}
    variables = {"POOLING": "mean" if is_pooled else variant.pooling, "RNN": variant.rnn}
    return _train("classifier.jsonnet", data, embedder, variables, seed, overrides)


def train_finetuned(
    directory: Path, pooling: str, frozen: bool, seed: int, overrides: Mapping[str, Any]
) -> dict[str, float]:
    """Train a classifier with its biLM, or with the same biLM `frozen`, over the first words of the petitions; return its figures.

    Args:
        overrides: options of `finetuned.jsonnet`, in place of those in the file.
    """
    embedder = {"archive_file": str(directory / "bilm" / "model.tar.gz"), "requires_grad": not frozen}
    variables = {"POOLING": pooling, "RNN": "none"}
    return _train("finetuned.jsonnet", directory / "vectors", embedder, variables, seed, overrides)


def _train(
    config: str,
    data: Path,
    embedder: dict[str, Any],
    variables: dict[str, str],
    seed: int,
    overrides: Mapping[str, Any],
) -> dict[str, float]:
    """Train with `config` on the petitions in `data`; return the figures of "dev" and "test", the best epoch and the processor minutes."""
    allennlp_logging.FILE_FRIENDLY_LOGGING = True
    options = {
        "train_data_path": str(data / "train.jsonl"),
        "validation_data_path": str(data / "dev.jsonl"),
        **{f"model.text_field_embedder.token_embedders.tokens.{name}": value for name, value in embedder.items()},
        **{f"{name}_seed": seed for name in ("random", "numpy", "pytorch")},
        **overrides,
    }
    width = np.load(data / "vectors.npy", mmap_mode="r").shape[2]
    params = Params.from_file(CONFIGS / config, json.dumps(options), {"WIDTH": str(width), **variables})
    start = time.process_time()
    prepare_environment(params)
    reader = DatasetReader.from_params(params.duplicate().get("dataset_reader"))
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        training = TrainModel.from_params(params=params, serialization_dir=directory, local_rank=0)
        metrics = training.run()
        for part in ("dev", "test"):
            instances = list(reader.read(str(data / f"{part}.jsonl")))
            # A topic of the hidden month may be new, and then has no number.
            labels = [instance.fields.pop("label").label for instance in instances]  # type: ignore[attr-defined]
            predicted = _predict(training.model, reader, instances)
            figures |= named(part, measure(labels, predicted))
    return {**figures, "epoch": metrics["best_epoch"] + 1, "minutes": (time.process_time() - start) / 60}


def _predict(model: Model, reader: DatasetReader, instances: list[Instance]) -> list[str]:
    """Return the most probable topic of each petition."""
    for instance in instances:
        reader.apply_token_indexers(instance)
    model.eval()
    topics = model.vocab.get_index_to_token_vocabulary("labels")
    predicted: list[str] = []
    for first in range(0, len(instances), _BATCH_SIZE):
        batch = Batch(instances[first : first + _BATCH_SIZE])
        batch.index_instances(model.vocab)
        with torch.no_grad():
            probabilities = model(**batch.as_tensor_dict())["probs"]
        predicted += [topics[number] for number in probabilities.argmax(dim=-1).tolist()]
    return predicted
