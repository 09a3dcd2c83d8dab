from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest

from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.data.dataset_readers.bilm_reader import BilmReader
from allennlp_elmo_plus.plugin.data.vocabulary import BilmVocabulary
from allennlp_elmo_plus.training.distributed.world import World

LINES = ["the hen sat on the egg", "", "a fox ran", "the egg lay still", "no hen ran", "a hen sat"] * 5


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return the path of a text file with LINES."""
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def make_loader(path: str) -> Callable[..., BilmDataLoader]:
    """Return a function that makes a data loader over LINES, with a vocabulary of 9 words."""

    def make_loader(reader: Optional[BilmReader] = None, **arguments: Any) -> BilmDataLoader:
        loader = BilmDataLoader(reader or BilmReader(), path, **{"batch_size": 3, "num_steps": 4, **arguments})
        loader.index_with(BilmVocabulary.from_text(loader.iter_instances(), max_size=9))
        return loader

    return make_loader


@pytest.fixture
def set_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that makes this process appear to the data loaders as `rank` of `num_processes`."""

    def set_process(rank: int, num_processes: int) -> None:
        for module in ("bilm_loader", "sentence_loader"):
            loaders = "allennlp_elmo_plus.plugin.data.data_loaders"
            monkeypatch.setattr(f"{loaders}.{module}.world", lambda: World(rank, num_processes))

    return set_process
