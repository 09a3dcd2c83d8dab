"""A small biLM to explore."""

from pathlib import Path

import pytest
import torch

from allennlp_elmo_plus.explore.explorer import Explorer
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import read_model
from tests.helpers.saved_bilm import SENTENCES, saved


@pytest.fixture(scope="package")
def bilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with model.tar.gz, which has a softmax, and weights.hdf5, which has none."""
    directory = tmp_path_factory.mktemp("bilm")
    saved(directory)
    return directory


@pytest.fixture(scope="package")
def explorer(bilm: Path) -> Explorer:
    return Explorer(read_model(ModelSource(bilm / "model.tar.gz")), iter(SENTENCES), torch.device("cpu"))


@pytest.fixture(scope="package")
def explorer_without_softmax(bilm: Path) -> Explorer:
    source = ModelSource(bilm / "options.json", bilm / "weights.hdf5")
    return Explorer(read_model(source), None, torch.device("cpu"))
