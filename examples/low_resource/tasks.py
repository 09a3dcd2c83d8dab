"""The tasks: train AllenNLP's models over frozen word vectors and evaluate them on test data."""

import json
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple, Optional

from allennlp.commands.train import TrainModel
from allennlp.common import Params
from allennlp.common import logging as allennlp_logging
from allennlp.common.util import prepare_environment

from examples.low_resource.fast_parser import speed_up
from examples.low_resource.language import Language
from examples.low_resource.vectors import CONFIGS, Embedding


class Task(NamedTuple):
    """A task: its config, the field of `Language` with its data, its metrics, and the module that registers its model."""

    config: str
    data: str
    metrics: dict[str, str]  # our name -> AllenNLP's
    module: Optional[str]


_PARSER = ("treebank", {"UAS": "UAS", "LAS": "LAS"}, "allennlp_models.structured_prediction")

TASKS = {
    "pos": Task("parts_of_speech.jsonnet", "treebank", {"accuracy": "accuracy"}, None),
    "names": Task("names.jsonnet", "names", {"F1": "f1-measure-overall"}, "allennlp_models.tagging"),
    "parser_small": Task("parser_small.jsonnet", *_PARSER),
    "parser_published": Task("parser_published.jsonnet", *_PARSER),
}


def run_task(
    name: str, language: Language, embedding: Embedding, seed: int, overrides: Mapping[str, Any]
) -> dict[str, float]:
    """Train the model of the task `name` over the frozen `embedding`; return its figures.

    Args:
        overrides: options of the task's config, in place of those in the file.

    Returns:
        The metrics on the test data in per cent; the same on the development data, which chose the epoch, with the prefix `dev_`; the
        best epoch, counted from 1; and the processor time of training and evaluation in minutes.
    """
    task = TASKS[name]
    if task.module is not None:
        import_module(task.module)
    # The progress bars of AllenNLP then write a line every ten seconds.
    allennlp_logging.FILE_FRIENDLY_LOGGING = True
    data = getattr(language, task.data)
    options = {
        "train_data_path": str(data["train"]),
        "validation_data_path": str(data["dev"]),
        "test_data_path": str(data["test"]),
        "dataset_reader.token_indexers": embedding.indexers,
        "model.text_field_embedder": {"token_embedders": embedding.embedders},
        **{f"{name}_seed": seed for name in ("random", "numpy", "pytorch")},
        **overrides,
    }
    params = Params.from_file(CONFIGS / task.config, json.dumps(options), {"WIDTH": str(embedding.width)})
    start = time.process_time()
    prepare_environment(params)
    with tempfile.TemporaryDirectory() as directory:
        training = TrainModel.from_params(params=params, serialization_dir=directory, local_rank=0)
        speed_up(training.model)
        metrics = training.run()
        # Of a parser: find the best tree, in place of the best head of each word alone. Other models ignore it.
        training.model.use_mst_decoding_for_validation = True
        training.finish(metrics)
    figures = {ours: 100 * metrics[f"test_{theirs}"] for ours, theirs in task.metrics.items()}
    figures |= {f"dev_{ours}": 100 * metrics[f"best_validation_{theirs}"] for ours, theirs in task.metrics.items()}
    return {**figures, "epoch": metrics["best_epoch"] + 1, "minutes": (time.process_time() - start) / 60}
