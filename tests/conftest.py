import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.helpers.runs.fork_server import ForkServer
from tests.helpers.runs.process_pool import ProcessPool

torch.set_num_threads(1)
# No test is timed: a machine that others use may stall in the middle of an example.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Tests that import AllenNLP at the top. Without it they are not collected; elsewhere single tests are skipped.
NEED_ALLENNLP = ["faults", "integration", "unit/plugin"]
collect_ignore = [] if find_spec("allennlp") is not None else NEED_ALLENNLP

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each kind of device that this machine has."""
    return torch.device(request.param)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real text is not at hand: {SHARED_DATA} is absent")
    return SHARED_DATA


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    """Started by the first test that asks for it."""
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
