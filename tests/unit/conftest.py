from pathlib import Path

import pytest

from tests.helpers.corpus_text import write


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Return a text file of three sentences, one of them empty."""
    return write(tmp_path / "text.txt")
