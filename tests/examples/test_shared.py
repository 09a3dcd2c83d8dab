"""What the examples share: programs that they run, files that they read."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from allennlp_elmo_plus.errors import InputError
from examples.meaning_over_time import corpora
from examples.meaning_over_time.corpora import Petition
from examples.petitions.baselines import read_texts
from examples.shared import commands, flair_models, tables
from examples.shared.files import check_folder, names_of_models, read_json_lines

# Stands in for `elmo-plus`: takes a second to save at Ctrl-C.
SLOW_TO_STOP = """
import pathlib, time
try:
    pathlib.Path("begun").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    pathlib.Path("saved").touch()
    raise SystemExit(130)
"""


def test_a_program_that_ctrl_c_stops_has_time_to_save(tmp_path: Path) -> None:
    (tmp_path / "allennlp_elmo_plus.py").write_text(SLOW_TO_STOP)
    root = Path(__file__).resolve().parents[2]
    code = f"import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.path.append({str(root)!r})\n"
    code += "from importlib.util import spec_from_file_location, module_from_spec\n"
    code += f"spec = spec_from_file_location('commands', {str(root / 'examples/shared/commands.py')!r})\n"
    code += "import types; sys.modules['allennlp_elmo_plus.errors'] = types.SimpleNamespace(InputError=ValueError)\n"
    code += "module = module_from_spec(spec); spec.loader.exec_module(module); module.elmo_plus('train')"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) != 0
    assert (tmp_path / "saved").exists()


def test_the_time_of_an_interrupted_training_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ends = iter([10.0, 12.5, 100.0, 104.0]), iter([KeyboardInterrupt, None])
    monkeypatch.setattr(commands, "_processor_minutes", lambda: next(clock))

    def run(*arguments: object) -> None:
        (tmp_path / "config.json").touch()
        if (error := next(ends)) is not None:
            raise error

    monkeypatch.setattr(commands, "elmo_plus", run)
    with pytest.raises(KeyboardInterrupt):
        commands.train(Path("config.jsonnet"), tmp_path)
    assert commands.train(Path("config.jsonnet"), tmp_path) == 6.5 == commands.train(Path("config.jsonnet"), tmp_path)


def test_other_data_needs_another_directory(tmp_path: Path) -> None:
    check_folder(tmp_path / "mistyped", tmp_path / "work")
    check_folder(tmp_path / "one", tmp_path / "work")
    (tmp_path / "work" / "figures.jsonl").touch()
    for folder in ("one", "one", "../" + tmp_path.name + "/one"):
        check_folder(tmp_path / folder, tmp_path / "work")
    with pytest.raises(InputError, match="the runs in .*work are over the data of .*one, got .*two: name another"):
        check_folder(tmp_path / "two", tmp_path / "work")


def test_models_have_the_names_of_their_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert names_of_models([Path("model.tar.gz"), Path("../there/model.tar.gz")]) == ["here", "there"]
    with pytest.raises(InputError, match="must have different names, got 'bilm' twice"):
        names_of_models([Path("a/bilm/model.tar.gz"), Path("b/bilm/model.tar.gz")])


def test_a_text_keeps_its_line_ends_and_fasttext_reads_all_of_it(tmp_path: Path) -> None:
    record = {"label": "a", "month": "m", "sentences": ["one\u2028two", "three\nfour"]}
    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.jsonl").write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_json_lines(tmp_path / "dev.jsonl") == [record]
    assert read_texts(tmp_path)["train"].texts == ["one two three four"]


def test_an_interrupted_preparation_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(corpora, "elmo_plus", lambda *arguments: calls.append(arguments))
    (tmp_path / "text").mkdir()
    corpora.prepare([Petition("2019", "The mill turns .")], tmp_path / "text")
    (tmp_path / "text" / "train.txt").touch()
    corpora.prepare([Petition("2019", "The mill turns .")], tmp_path / "text")
    assert len(calls) == 1 and "--overwrite" in calls[0]


def test_the_end_of_the_time_is_told_from_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt), flair_models._interrupted_after(0.01) as interruptions:
        while True:
            sum(range(1000))
    assert interruptions == [0.01]
    with flair_models._interrupted_after(60) as interruptions:
        pass
    assert interruptions == []


def test_tables_of_a_run_in_progress_are_printed(tmp_path: Path) -> None:
    lines = [
        {"word": "mill", "corpora": "years", "seed": 1, "found_a": 9, "found_b": 8, "apd": 0.5, "prt": 0.3, "jsd": 0.2},
        {
            "word": "river",
            "corpora": "years",
            "seed": 1,
            "found_a": 9,
            "found_b": 0,
            "apd": None,
            "prt": None,
            "jsd": None,
        },
        {
            "word": "mill",
            "corpora": "halves",
            "seed": 1,
            "found_a": 9,
            "found_b": 8,
            "apd": 0.4,
            "prt": 0.1,
            "jsd": 0.1,
        },
        {
            "words": "spaces",
            "part": "bilm",
            "perplexity": 9,
            "forward_perplexity": 8,
            "backward_perplexity": 7,
            "minutes": 1,
        },
    ]
    for number, count in enumerate((1, 3)):
        file = tmp_path / f"{number}.jsonl"
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines[:count]))
        (table,) = tables.tables_of("meaning_over_time", file)
        assert table.text.count("mill") == number and "river" not in table.text
    (tmp_path / "p.jsonl").write_text(json.dumps(lines[3]) + "\n")
    assert any(
        "| spaces | 9.0 | 8.0 | 7.0 | 1.0 |  |" in table.text
        for table in tables.tables_of("petitions", tmp_path / "p.jsonl")
    )
