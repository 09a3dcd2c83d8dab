"""Distributed training on two machines: two `allennlp train` with two processes each, connected over the loopback interface."""

import json
from pathlib import Path
from typing import Any

import pytest
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.common.util import find_open_port
from allennlp.data import DataLoader
from allennlp.models.archival import load_archive
from allennlp.training.util import evaluate

from tests.faults.command_process import run_command
from tests.helpers.runs.distributed_runs import read_metrics
from tests.helpers.runs.fork_server import ForkServer
from tests.helpers.small_text import SENTENCES, small_config, write_text


def config_of(directory: Path, num_processes: int) -> dict[str, Any]:
    config = small_config(directory)
    write_text(directory / "train.txt", SENTENCES * 2)
    config["model"]["dropout"] = 0.0
    config["data_loader"] |= {"batch_size": 8 // num_processes, "shared_negatives": True}
    # AllenNLP's own checkpointer refuses `save_every_num_seconds` with several processes; ours accepts it.
    checkpointer = {"type": "bilm", "save_every_num_seconds": 0.001, "keep_most_recent_by_count": 1}
    config["trainer"] |= {"num_epochs": 1, "checkpointer": checkpointer, "callbacks": [{"type": "bilm"}]}
    return config


@pytest.mark.slow
def test_two_machines_train_as_one_process_does(server: ForkServer, tmp_path: Path) -> None:
    config = config_of(tmp_path, 4)
    addresses = {"num_nodes": 2, "primary_address": "127.0.0.1", "primary_port": find_open_port()}
    config["distributed"] = {"cuda_devices": [-1, -1], **addresses}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    launches = []
    for machine in range(2):
        arguments = ["train", str(path), "-s", str(tmp_path / f"machine{machine}"), "--node-rank", str(machine)]
        launches.append(server.call(run_command, arguments, str(tmp_path / f"machine{machine}.log"), []))
    statuses = [server.wait(process) for process in launches]
    logs = [(tmp_path / f"machine{machine}.log").read_text() for machine in range(2)]
    assert statuses == [0, 0], logs[statuses[0] == 0][-3000:]

    (tmp_path / "alone").mkdir()
    train_model(Params(config_of(tmp_path / "alone", 1)), str(tmp_path / "alone" / "out"))
    expected = read_metrics(tmp_path / "alone" / "out", 0)
    for machine in range(2):
        out = tmp_path / f"machine{machine}"
        ours = read_metrics(out, 0)
        for name in ("training_loss", "training_sampled_perplexity", "validation_perplexity"):
            assert ours[name] == pytest.approx(expected[name], rel=1e-6), name
        # Each machine keeps one checkpoint, as configured, and writes an archive.
        assert len(list(out.glob("training_state_*.th"))) == 1 and (out / "model.tar.gz").is_file()
        assert len(list((out / "encoded_text").glob("train.txt-*"))) == 1
    assert evaluated(tmp_path / "machine0") == pytest.approx(expected["best_validation_perplexity"], rel=1e-6)


def evaluated(directory: Path) -> float:
    """Return the perplexity that `allennlp evaluate` reports for the archive in `directory`."""
    archive = load_archive(directory / "model.tar.gz")
    params = archive.config["validation_data_loader"]
    reader, text = archive.validation_dataset_reader, archive.config["validation_data_path"]
    loader = DataLoader.from_params(params, reader=reader, data_path=text)
    loader.index_with(archive.model.vocab)
    return evaluate(archive.model, loader)["perplexity"]
