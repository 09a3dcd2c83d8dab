from pathlib import Path

import pytest

from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.corpus_text import write
from tests.helpers.small_encoders import options_of, random_encoder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text of three sentences, one of them empty."""
    return write(tmp_path / "text.txt")


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, BiLMOptions]:
    """The weights.hdf5 of a small encoder, and its options."""
    options = options_of("usual")
    path = tmp_path / "weights.hdf5"
    write_weights(path, random_encoder(options), options)
    return path, options
