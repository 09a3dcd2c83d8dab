"""Every benchmark runs and writes its tables, JSON and plots. No measured value is compared."""

import json
from importlib.util import find_spec

import pytest

from benchmarks import held_out, plot
from benchmarks.__main__ import BENCHMARKS, main

GROWTH = "growth"
MEMORY_ALONE = "peak_memory_training"
SCALING = "scaling"
QUALITY = "quality"


def test_help_names_every_benchmark(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed and summary in printed for name, summary in BENCHMARKS.items())


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["lstm_stak"])
    assert "no benchmark is called lstm_stak; there are lstm_stack, " in capsys.readouterr().err


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


def report_of(name, directory, capsys, *options):
    """Return the JSON and the output of a quick run of `name`."""
    main([name, "--quick", "--rounds", "1", "--output", str(directory), *options])
    return json.loads((directory / f"{name}.json").read_text("utf-8")), capsys.readouterr().out


def check(report, printed, name):
    assert report["benchmark"] == name and report["quick"] is True
    machine = report["machine"]
    assert machine["cpu"] and machine["threads"] >= 1 and machine["torch"] and machine["date"].endswith("Z")
    assert {"sgemm_gflops", "sgemm_gflops_1_thread", "copy_gigabytes_per_second"} <= set(machine["before"])
    assert {"seconds", "ratio", "bytes", "work"} <= set(report["units"])
    assert f"== {name}: {report['title']}\n" in printed
    for case in report["cases"]:
        lines = case["contenders"]
        assert f"-- {case['label']}\n" in printed
        assert all(line["contender"] in printed for line in lines)
        if name == MEMORY_ALONE:
            # The last line is the peak memory, which may be 0 in a quick run, which starts no child process.
            assert all(line["bytes"] > 0 and line["ratio"] > 0 for line in lines[:-1]) and lines[-1]["bytes"] >= 0
            continue
        assert all(len(line["seconds"]) == 1 and line["median_seconds"] > 0 for line in lines)
        if name == GROWTH:
            assert lines[0]["growth"] is None
            assert all(line["growth"] > 0 and line["growth_of_work"] > 0 and line["remark"] for line in lines[1:])
            continue
        assert lines[0]["contender"].startswith("ours")
        if name == QUALITY:
            assert all(line["remark"] for line in lines) and all(line["ratio"] > 0 for line in lines[1:])
            continue
        limits = [line for line in lines if line["contender"].startswith("limit")]
        assert limits and lines[0]["share_of_limit"] > 0 and lines[0]["rate"] > 0
        assert all(line["ratio"] > 0 for line in lines[1:] if line not in limits)


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_quick_run_without_allennlp_writes_a_report(name, directory, capsys):
    report, printed = report_of(name, directory, capsys, "--without-allennlp")
    check(report, printed, name)
    names = {line["contender"] for case in report["cases"] for line in case["contenders"]}
    assert names or name == "pretraining"
    assert not any("AllenNLP" in contender for contender in names)
    if name == SCALING:
        own, same, _, _ = report["cases"][0]["contenders"]
        parts = {"dense gradients", "which rows", "values of rows"}
        assert all(
            set(line["exchanged_bytes"]) == parts and min(line["exchanged_bytes"].values()) > 0 for line in (own, same)
        )
    elif name not in (GROWTH, MEMORY_ALONE, "held_out"):
        assert report["notes"] == ["AllenNLP's contender is left out, as requested"] and report["notes"][0] in printed
    assert not list(directory.glob(".scratch-*"))
    image = directory / f"{name}.png"
    assert image.is_file() or plot.NO_MATPLOTLIB in printed or not report["cases"]
    if image.is_file():
        assert image.read_bytes().startswith(b"\x89PNG")


def test_the_other_benchmarks_run_after_one_failed(tmp_path, monkeypatch, capsys):
    def fail(settings):
        raise OSError("the disk is full")

    monkeypatch.setattr(held_out, "run", fail)
    with pytest.raises(SystemExit, match="not measured, see above: held_out"):
        main(["held_out", "feeding", "--quick", "--without-allennlp", "--output", str(tmp_path)])
    assert "the disk is full" in capsys.readouterr().err
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == ["feeding"]


def test_allennlp_embeds_the_same_text(directory, capsys):
    pytest.importorskip("allennlp")
    report, printed = report_of("embedding", directory, capsys)
    check(report, printed, "embedding")
    names = [line["contender"] for line in report["cases"][0]["contenders"]]
    assert names[4:6] == ["AllenNLP ElmoTokenEmbedder", "AllenNLP, vocab_to_cache"]


@pytest.mark.slow
def test_allennlps_parts_are_compared_in_pretraining(directory, capsys):
    pytest.importorskip("allennlp")
    report, _ = report_of("pretraining", directory, capsys)
    lines = report["cases"][0]["contenders"]
    flair = ["flair, both directions"] if find_spec("flair") else []
    assert [line["contender"] for line in lines] == ["ours", "ours, bf16", "AllenNLP's parts", *flair]
    assert flair or report["notes"] == ["flair's contender is left out: flair is not installed"]
    assert all(line["rate"] > 0 for line in lines) and all(line["ratio"] > 0 for line in lines[1:])


def test_allennlps_parts_are_trained_to_the_same_quality(directory, capsys):
    pytest.importorskip("allennlp")
    report, printed = report_of(QUALITY, directory, capsys)
    check(report, printed, QUALITY)
    names = [line["contender"] for line in report["cases"][0]["contenders"]]
    assert names == ["ours", "ours, bf16", "AllenNLP's parts"]


@pytest.mark.slow
def test_a_quality_is_not_measured_on_generated_text(tmp_path, capsys):
    main([QUALITY, "--output", str(tmp_path)])
    assert "nothing is measured without a real text: --text FILE" in capsys.readouterr().out


def test_plots_are_drawn_from_a_copied_json_file(directory, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    report_of("feeding", directory, capsys, "--without-allennlp")
    (tmp_path / "feeding.json").write_bytes((directory / "feeding.json").read_bytes())
    plot.main([str(tmp_path)])
    assert (tmp_path / "feeding.png").is_file()


def test_plotting_an_empty_directory_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no JSON file there"):
        plot.main([str(tmp_path)])
