import logging
from collections.abc import Iterator

import pytest

from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.exported_bilm import OPTIONS, exported


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the files of a small exported biLM as arguments of the token embedder."""
    return exported(tmp_path_factory.mktemp("usual"), BiLMOptions.from_dict(OPTIONS))


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Restore the root logger's handlers, which a training replaces by handlers that write to files of the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
