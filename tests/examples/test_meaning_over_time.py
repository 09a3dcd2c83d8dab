"""The example that compares petitions of two years, without the biLM."""

import json
from pathlib import Path
from typing import Any

import pytest

from allennlp_elmo_plus.errors import InputError
from examples.meaning_over_time import __main__ as example
from examples.meaning_over_time import corpora
from examples.meaning_over_time.corpora import Petition, read_petitions, split_by_hash, split_by_year
from examples.shared.figures import Figures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with forty petitions of each of the two years, one of them twice, and a file that is not used."""

    def line(year: int, number: int) -> str:
        petition = {"begin": f"{year}-08-25", "title": f"title {number}", "content": f"content of {year}"}
        return json.dumps(petition) + "\n"

    (tmp_path / "a.jsonl").write_text("".join(line(2017, number) for number in range(40)) + line(2017, 0))
    (tmp_path / "b.jsonl").write_text("".join(line(2019, number) for number in range(40)))
    (tmp_path / "c.jsonl").write_text(line(2019, 99))
    return tmp_path


def test_petitions_are_split_by_year_and_by_hash(folder: Path) -> None:
    petitions = read_petitions(folder)
    assert len(petitions) == 80 and petitions[0] == Petition("2017", "title 0\n\ncontent of 2017")
    years = split_by_year(petitions)
    assert [{petition.year for petition in part} for part in years.values()] == [{"2017"}, {"2019"}]
    halves = [split_by_hash(petitions, number) for number in (1, 1, 2)]
    assert halves[0] == halves[1] != halves[2]
    for parts in halves:
        assert sorted(parts["first"] + parts["second"]) == sorted(petitions)
        assert 25 < len(parts["first"]) < 55 and {petition.year for petition in parts["first"]} == {"2017", "2019"}
    (folder / "a.jsonl").unlink()
    with pytest.raises(InputError, match="^`folder` must have petitions of 2017 in files"):
        read_petitions(folder)


def test_each_seed_compares_the_years_and_two_halves(folder: Path, tmp_path: Path, monkeypatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def elmo_plus(*arguments: Any) -> None:
        calls.append(arguments)
        if arguments[0] == "prepare":
            arguments[2].mkdir()
            (arguments[2] / "train.txt").touch()
            return
        output = arguments[arguments.index("--output") + 1]
        counts = dict.fromkeys(("found_a", "found_b", "used_a", "used_b"), 7)
        lines = [
            {"word": word, **counts, "apd": 0.5, "prt": 0.1, "jsd": 0.2, "clusters": []} for word in ("mill", "a*")
        ]
        output.write_text("".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(corpora, "elmo_plus", elmo_plus)
    monkeypatch.setattr(example, "elmo_plus", elmo_plus)
    words = tmp_path / "words.txt"
    words.write_text("mill\na*\n")
    figures = Figures(tmp_path / "figures.jsonl")
    example.measure(folder, "model.tar.gz", tmp_path / "work", words, range(1, 3), figures)
    usages = [arguments for arguments in calls if arguments[0] == "usages"]
    assert [[path.relative_to(tmp_path / "work").as_posix() for path in arguments[3:5]] for arguments in usages] == [
        ["years/2017", "years/2019"],
        ["halves1/first", "halves1/second"],
        ["years/2017", "years/2019"],
        ["halves2/first", "halves2/second"],
    ]
    # The texts of the years are prepared once.
    assert sum(arguments[0] == "prepare" for arguments in calls) == 6
    assert [(line["corpora"], line["seed"], line["word"]) for line in figures.lines({})] == [
        (name, seed, word) for seed in (1, 2) for name in ("years", "halves") for word in ("mill", "a*")
    ]
    num_calls = len(calls)
    example.measure(folder, "model.tar.gz", tmp_path / "work", words, range(1, 3), figures)
    assert len(calls) == num_calls
