"""The Slurm script, with stand-ins for `srun`, `scontrol` and the signal before the time limit."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from allennlp.common import Params

from tests.helpers.runs.fork_server import TIMEOUT_SECONDS
from tests.helpers.small_text import SENTENCES, small_config, write_text

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "slurm" / "train.sbatch"

# One process for each machine, with its rank. The status is the highest one, as that of `srun`.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for ((rank = 0; rank < SLURM_NNODES; rank++)); do
    SLURM_NODEID=$rank "$@" & echo $! >> tasks; tasks+=($!)
done
status=0
for task in "${tasks[@]}"; do wait "$task"; code=$?; ((code > status)) && status=$code; done
exit $status
"""

SCONTROL = """#!/bin/bash
if [[ $1 == show ]]; then echo "$3"; else echo "$@" >> requeued; fi
"""

ELMO_PLUS = f"""#!/bin/bash
exec {sys.executable} -m allennlp_elmo_plus "$@"
"""


def new_job_id() -> str:
    """Return the number of a job whose port is free."""
    while True:
        number = random.randrange(10000)
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", 20000 + number))
            except OSError:
                continue
        return str(number)


def write_config(directory: Path) -> Path:
    """Write the config of a small training. Its `distributed` section reads the environment as examples/slurm/bilm.jsonnet does."""
    config: dict[str, Any] = small_config(directory)
    write_text(directory / "train.txt", SENTENCES * 4)
    config["trainer"] |= {
        "num_epochs": 8,
        "checkpointer": {"type": "bilm", "save_every_num_batches": 3},
        "callbacks": [{"type": "bilm"}],
    }
    distributed = """{
      cuda_devices: [-1],
      num_nodes: std.parseInt(std.extVar('SLURM_NNODES')),
      primary_address: std.extVar('PRIMARY_ADDRESS'),
      primary_port: std.parseInt(std.extVar('PRIMARY_PORT')),
    }"""
    path = directory / "config.jsonnet"
    path.write_text(
        f"{json.dumps(config)} + (if std.extVar('SLURM_NNODES') == '1' then {{}} else {{distributed: {distributed}}})"
    )
    return path


class Cluster:
    """Runs the script as Slurm does, in `directory`."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory, self.log = directory, directory / "log"
        self._environment = environment
        self._jobs: list[subprocess.Popen[bytes]] = []

    def start(self, config: Path, num_machines: int, first_machine: str, job_id: str) -> subprocess.Popen[bytes]:
        machines = {"SLURM_NNODES": str(num_machines), "SLURM_JOB_NODELIST": first_machine, "SLURM_JOB_ID": job_id}
        with open(self.log, "ab") as log:
            job = subprocess.Popen(
                ["bash", SCRIPT, config, self.directory / "out", "--file-friendly-logging"],
                cwd=self.directory,
                env={**self._environment, **machines},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._jobs.append(job)
        return job

    def announce_the_time_limit(self) -> None:
        """Send SIGUSR1 to the process of each machine, as `--signal=USR1` does."""
        for task in (self.directory / "tasks").read_text().split():
            os.kill(int(task), signal.SIGUSR1)

    def requeued(self) -> list[str]:
        path = self.directory / "requeued"
        return path.read_text().splitlines() if path.exists() else []

    def end(self) -> None:
        """Kill the processes of jobs that a failed test left."""
        for job in self._jobs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Return a cluster whose programs are the stand-ins."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, source in (("srun", SRUN), ("scontrol", SCONTROL), ("elmo-plus", ELMO_PLUS)):
        (programs / name).write_text(source)
        (programs / name).chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    cluster = Cluster(tmp_path, {**os.environ, **path, "OMP_NUM_THREADS": "1", "SLURM_CPUS_PER_TASK": "1"})
    yield cluster
    cluster.end()


@pytest.mark.slow
@pytest.mark.parametrize("num_machines", [1, 2])
def test_a_job_that_runs_out_of_time_is_requeued_and_resumes(cluster: Cluster, num_machines: int) -> None:
    config = write_config(cluster.directory)
    out = cluster.directory / "out"
    outs = [out] if num_machines == 1 else [out / "machine0", out / "machine1"]
    job_id = new_job_id()
    job = cluster.start(config, num_machines, "127.0.0.1", job_id)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not all(list(out.glob("training_state_*.th")) for out in outs):
        assert job.poll() is None and time.monotonic() < deadline, cluster.log.read_text()[-3000:]
        time.sleep(0.01)
    cluster.announce_the_time_limit()
    assert job.wait(TIMEOUT_SECONDS) == 128 + signal.SIGUSR1, cluster.log.read_text()[-3000:]
    assert cluster.requeued() == [f"requeue {job_id}"]
    assert not any((out / "model.tar.gz").exists() for out in outs)

    # Slurm starts the same script again. The first machine is another one, and so is the port, as if a user had submitted a new job.
    job = cluster.start(config, num_machines, "localhost", new_job_id())
    assert job.wait(TIMEOUT_SECONDS) == 0, cluster.log.read_text()[-3000:]
    assert all((out / "model.tar.gz").exists() for out in outs)
    assert len(cluster.requeued()) == 1


@pytest.mark.slow
def test_a_failed_training_is_not_requeued(cluster: Cluster) -> None:
    job = cluster.start(cluster.directory / "none.jsonnet", 1, "127.0.0.1", "7")
    assert job.wait(TIMEOUT_SECONDS) == 1, cluster.log.read_text()[-3000:]
    assert cluster.requeued() == []


def test_the_config_trains_on_all_gpus_of_all_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"SLURM_GPUS_ON_NODE": "4", "SLURM_NNODES": "2", "PRIMARY_ADDRESS": "node1", "PRIMARY_PORT": "20007"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = Params.from_file(SCRIPT.with_name("bilm.jsonnet")).as_dict()
    assert config["distributed"] == {
        "cuda_devices": [0, 1, 2, 3],
        "num_nodes": 2,
        "primary_address": "node1",
        "primary_port": 20007,
    }
