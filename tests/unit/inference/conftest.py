from pathlib import Path

import pytest

from allennlp_elmo_plus import ElmoEmbedder
from tests.helpers.small_encoders import options_of, random_encoder
from tests.unit.inference.embedding_runs import TEXT


@pytest.fixture(scope="module")
def embedder() -> ElmoEmbedder:
    return ElmoEmbedder(random_encoder(options_of("usual")), batch_size=6)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "text.txt"
