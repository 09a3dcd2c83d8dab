"""TensorBoard's event files, written with tensorboardX as AllenNLP's callback does."""

import math
from pathlib import Path

import pytest
from tensorboardX import SummaryWriter

from allennlp_elmo_plus.report.events import read_scalars


def write(directory: Path, points: list[tuple[str, float, int]], suffix: str = "") -> Path:
    before = set(directory.glob("events*"))
    writer = SummaryWriter(str(directory), filename_suffix=suffix)
    for tag, value, step in points:
        writer.add_scalar(tag, value, step)
    writer.add_histogram("parameter_histogram/weight", [1.0, 2.0], 1)
    writer.close()
    (path,) = set(directory.glob("events*")) - before
    return path


def test_scalars_are_read_by_tag(tmp_path: Path) -> None:
    write(tmp_path, [("train/batch_loss", 5.5, 100), ("train/batch_loss", 4.25, 200), ("gradient_norm", math.inf, 7)])
    assert read_scalars(tmp_path) == {
        "train/batch_loss": [(100, 5.5), (200, 4.25)],
        "gradient_norm": [(7, math.inf)],
    }
    assert read_scalars(tmp_path / "none") == {}


def test_steps_that_a_resumed_run_repeats_replace_the_earlier_ones(tmp_path: Path) -> None:
    first = write(tmp_path, [("loss", 3.0, 1), ("loss", 2.0, 2), ("loss", 1.5, 3)])
    first.rename(tmp_path / "events.out.tfevents.1000000000.host")
    second = write(tmp_path, [("loss", 2.5, 2), ("loss", 1.0, 4)])
    second.rename(tmp_path / "events.out.tfevents.1000000001.host")
    assert read_scalars(tmp_path)["loss"] == [(1, 3.0), (2, 2.5), (3, 1.5), (4, 1.0)]


@pytest.mark.parametrize("offset", [1, 5, 20, 30])
def test_a_truncated_file_gives_its_complete_scalars(offset: int, tmp_path: Path) -> None:
    path = write(tmp_path, [("loss", float(step), step) for step in range(1, 50)])
    all_scalars = read_scalars(tmp_path)["loss"]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 - offset])
    scalars = read_scalars(tmp_path)["loss"]
    assert 10 < len(scalars) < 40 and scalars == all_scalars[: len(scalars)]


def test_reading_ends_at_a_damaged_length(tmp_path: Path) -> None:
    path = write(tmp_path, [("loss", 1.0, 1)])
    path.write_bytes(path.read_bytes() + b"\xff" * 12 + b"rest")
    assert read_scalars(tmp_path)["loss"] == [(1, 1.0)]
