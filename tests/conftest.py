import logging
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from allennlp_elmo_plus.kernels import threads
from tests.helpers.runs.fork_server import ForkServer
from tests.helpers.runs.process_pool import ProcessPool

torch.set_num_threads(1)
# Hypothesis has no time limit: a shared machine may be slow in the middle of an example.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Folders and files whose tests import AllenNLP at the top. Without AllenNLP they are not collected; elsewhere single tests are skipped.
NEED_ALLENNLP = [
    "examples/test_fast_parser.py",
    "examples/test_stored_vectors.py",
    "faults",
    "integration",
    "unit/commands",
    "unit/plugin",
]
collect_ignore = [] if find_spec("allennlp") is not None else NEED_ALLENNLP

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Restore the level of the log, which AllenNLP's commands lower: a later test would find more records."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.fixture(autouse=True)
def taken_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give back, after each test, the threads that a model's pretraining has taken."""
    monkeypatch.setattr(threads, "_num_taken", 1)


@pytest.fixture(params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Return each device type of this machine: the CPU, and CUDA if it is available."""
    return torch.device(request.param)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"there is no real text: {SHARED_DATA} does not exist")
    return SHARED_DATA


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    """Return a fork server, which starts when the first test needs it."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def processes(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> ProcessPool:
    return ProcessPool(server, tmp_path_factory.mktemp("processes"))


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
