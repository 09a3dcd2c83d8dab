"""The parts of scripts/gpu in a dry run: with small models, on each device of this machine."""

import json
import math

import pytest
import torch

from allennlp_elmo_plus.training import adagrad
from scripts.gpu.__main__ import PARTS, main
from scripts.gpu.report import Report


def lines_of(part, section, device, directory, capsys):
    """Run a section. Return its lines in the JSON file, and the printed text."""
    status = main([part, "--dry-run", "--device", device.type, "--output", str(directory), "--only", section])
    printed = capsys.readouterr().out
    report = json.loads((directory / f"{part}.json").read_text("utf-8"))
    assert status == 0 and report["failures"] == [], printed
    assert report["part"] == part and report["machine"]["torch"] == torch.__version__
    return report["lines"], printed


@pytest.mark.parametrize("section", PARTS["prove"])
def test_every_check_of_the_part_prove_passes(section, device, tmp_path, capsys):
    lines, printed = lines_of("prove", section, device, tmp_path, capsys)
    assert lines and all(line["passed"] for line in lines if "limit" in line)
    assert printed.count(f"{section}: {lines[0]['name']}") == 2 and "nothing failed" in printed


@pytest.mark.parametrize("part, section", [(part, section) for part in ("time", "train") for section in PARTS[part]])
def test_every_section_of_the_parts_time_and_train_measures_something(part, section, device, tmp_path, capsys):
    lines, _ = lines_of(part, section, device, tmp_path, capsys)
    assert lines
    assert all(math.isfinite(line["value"]) and line["value"] >= 0 for line in lines if "value" in line)


def test_values_beyond_their_limit_errors_and_skipped_sections_fail_and_the_other_sections_run(tmp_path, capsys):
    path = tmp_path / "part.json"
    report = Report(path, "part", torch.device("cpu"))

    def fail():
        report.limited("within", 0.5, 1.0)
        raise KeyError("lost")

    report.run("first", fail)
    report.run("second", lambda: report.limited("beyond", 2.0, 1.0))
    report.run("third", lambda: report.limited("no number", math.nan, 1.0))
    report.run("fourth", lambda: report.required("fact", False))
    assert json.loads(path.read_text("utf-8"))["lines"][0]["passed"], "an interrupted run leaves its lines"
    report.close()
    names = ["first: error", "second: beyond", "third: no number", "fourth: fact"]
    assert json.loads(path.read_text("utf-8"))["failures"] == report.failures == names
    assert "KeyError: 'lost'" in capsys.readouterr().out
    late = Report(path, "part", torch.device("cpu"), budget_seconds=0)
    late.run("fifth", lambda: pytest.fail("started too late"))
    assert late.failures == ["fifth: not started"]


def test_a_wrong_value_on_the_device_ends_with_status_1(tmp_path, monkeypatch, capsys):
    """The learning rate is 0.1% too large in float32."""
    update = adagrad.adagrad_update

    def update_too_far(params, grads, sums, lr, scale):
        update(params, grads, sums, lr * 1.001 if params[0].dtype == torch.float32 else lr, scale)

    monkeypatch.setattr(adagrad, "adagrad_update", update_too_far)
    assert main(["prove", "--dry-run", "--device", "cpu", "--output", str(tmp_path), "--only", "optimizer"]) == 1
    assert "1 failed: optimizer: changes in float32" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_an_error_of_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["prove"])
    assert "`--device` must be one that PyTorch can use, got cuda" in capsys.readouterr().err


def test_sections_that_do_not_exist_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--device", "cpu", "--only", "embeding"])
    assert (
        "`--only` must name sections of train, types, perplexity, as fed, embedding, got embeding"
        in capsys.readouterr().err
    )


def test_a_text_of_ones_own_is_learned(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("the river rises and the river falls .\n" * 300, encoding="utf-8")
    arguments = ["train", "--dry-run", "--device", "cpu", "--output", str(tmp_path), "--only", "perplexity"]
    assert main([*arguments, "--text", str(text)]) == 0
    lines = json.loads((tmp_path / "train.json").read_text("utf-8"))["lines"]
    assert lines[0]["value"] < 15
