from pathlib import Path

import pytest

from tests.faults.runs import Run
from tests.helpers.fork_server import ForkServer


@pytest.fixture(scope="session")
def whole(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing happens to."""
    run = Run(server, tmp_path_factory.mktemp("whole"))
    assert run.finish() == 0, run.log.read_text()[-3000:]
    return run


@pytest.fixture
def run(server: ForkServer, tmp_path: Path) -> Run:
    return Run(server, tmp_path / "run")
