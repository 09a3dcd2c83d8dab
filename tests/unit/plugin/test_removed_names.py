"""The names that AllenNLP imports and newer releases of other libraries have removed."""

import sys
from types import ModuleType

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.removed_names import restore


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _replace("huggingface_hub", "1.33.0", monkeypatch)


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "transformers.processing_utils", ModuleType("transformers.processing_utils"))
    return _replace("transformers", "5.24.0", monkeypatch)


def _replace(name: str, version: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType(name)
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_the_names_of_older_releases_are_restored(hub: ModuleType, transformers: ModuleType) -> None:
    hub.get_token = lambda: "token"  # type: ignore[attr-defined]
    restore()
    # AllenNLP: common/push_to_hf.py:140 and 153, training/optimizers.py:456.
    assert hub.HfFolder.get_token() == "token"
    with pytest.raises(InputError, match="`push-to-hf` needs huggingface_hub<1, got 1.33.0"):
        hub.Repository("folder", clone_from="address")

    class AllenNlpsOptimizer(torch.optim.Optimizer):
        pass

    class AdamW(AllenNlpsOptimizer, transformers.AdamW):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__(params=[], lr=0.1, correct_bias=True)

    with pytest.raises(InputError, match='"huggingface_adamw" needs transformers<4.50, got 5.24.0; "adamw" is'):
        AdamW()


def test_names_that_are_there_are_kept(hub: ModuleType, transformers: ModuleType) -> None:
    hub.HfFolder, hub.Repository, transformers.AdamW = 1, 2, 3  # type: ignore[attr-defined]
    restore()
    assert (hub.HfFolder, hub.Repository, transformers.AdamW) == (1, 2, 3)  # type: ignore[attr-defined]
