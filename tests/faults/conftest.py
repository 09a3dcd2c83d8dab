from pathlib import Path

import pytest

from tests.faults.runs import Run
from tests.helpers.runs.fork_server import ForkServer


@pytest.fixture(scope="session")
def uninterrupted(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run that nothing disturbed."""
    run = Run(server, tmp_path_factory.mktemp("uninterrupted"))
    assert run.finish() == 0, run.log.read_text()[-3000:]
    return run


@pytest.fixture
def run(server: ForkServer, tmp_path: Path) -> Run:
    return Run(server, tmp_path / "run")
