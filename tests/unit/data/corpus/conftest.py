from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock, patch

import pytest

from allennlp_elmo_plus.data.corpus import cache as corpus_cache


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The directory of encoded corpora, which does not exist yet."""
    return tmp_path / "cache"


@pytest.fixture
def encodings() -> Iterator[MagicMock]:
    """The calls that encode a text."""
    with patch.object(corpus_cache, "encode_text", wraps=corpus_cache.encode_text) as encode_text:
        yield encode_text
