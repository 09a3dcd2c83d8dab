"""A text with its dataset reader and vocabulary, and AllenNLP's data loaders and models over it."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from allennlp.common import Params
from allennlp.data import DataLoader, DatasetReader, Vocabulary
from allennlp.models import Model

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from tests.helpers.small_text import small_model_config, write_text


class BilmData(NamedTuple):
    reader: DatasetReader
    vocabulary: Vocabulary
    path: Path


def make_data(directory: Path, sentences: list[list[str]]) -> BilmData:
    """Write `sentences` to a file in `directory`. Return the file's path with a reader and the vocabulary of the sentences."""
    path = write_text(directory / "text.txt", sentences)
    reader = DatasetReader.from_params(Params({"type": "bilm"}))
    vocabulary = Vocabulary.from_params(Params({"type": "bilm"}), instances=reader.read(str(path)))
    return BilmData(reader, vocabulary, path)


def make_loader(data: BilmData, **config: Any) -> DataLoader:
    """Return the data loader that `config` describes, by default lanes of the loader `bilm`."""
    if "type" not in config:
        config = {"type": "bilm", "batch_size": 3, "num_steps": 5, **config}
    loader = DataLoader.from_params(Params(config), reader=data.reader, data_path=str(data.path))
    loader.index_with(data.vocabulary)
    return loader


def make_model(vocabulary: Vocabulary, **overrides: Any) -> BilmModel:
    """Return a small model with random weights; `overrides` replace top-level options."""
    torch.manual_seed(0)
    model = Model.from_params(Params({**small_model_config(), **overrides}), vocab=vocabulary)
    assert isinstance(model, BilmModel)
    return model
