from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.runs import ForkServer, Run


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def whole(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing happens to."""
    run = Run(server, tmp_path_factory.mktemp("whole"))
    assert run.finish() == 0, run.log.read_text()[-3000:]
    return run


@pytest.fixture
def run(server: ForkServer, tmp_path: Path) -> Run:
    return Run(server, tmp_path / "run")
