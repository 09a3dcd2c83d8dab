import pytest

from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.exported_bilm import OPTIONS, exported


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the files of a small exported biLM as arguments of the token embedder."""
    return exported(tmp_path_factory.mktemp("usual"), BiLMOptions.from_dict(OPTIONS))
