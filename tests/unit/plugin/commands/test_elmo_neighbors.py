"""`allennlp elmo-neighbors` as it is typed."""

import gzip
import json
import os
from pathlib import Path

import pytest

from allennlp_elmo_plus.formats.pretrained import load_encoder
from allennlp_elmo_plus.inference.neighbors import NeighborSearch, TokenInContext
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.commands import elmo_neighbors as neighbors_command
from allennlp_elmo_plus.plugin.commands.elmo_neighbors import shown
from allennlp_elmo_plus.plugin.commands.elmo_report import read_neighbors
from tests.helpers.command_line import only_line, run_command
from tests.helpers.exported_bilm import OPTIONS, WORDS, exported
from tests.helpers.small_archives import archived_files, write_archive
from tests.helpers.small_text import SENTENCES, write_text

QUERY = ("mill", "the mill turns when the mill stands")
PLACE = TokenInContext(tuple(QUERY[1].split()), 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("elmo")
    exported(directory, BiLMOptions.from_dict(OPTIONS))
    return directory


@pytest.fixture
def text(tmp_path: Path) -> Path:
    write_text(tmp_path / "text.txt", SENTENCES)
    with gzip.open(tmp_path / "more.gz", "wt", encoding="utf-8") as file:
        file.write("a mill by the river\n\n" + "rain " * 20 + "falls\n")
    return tmp_path / "text.txt"


def test_the_table_and_the_file(model: Path, text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    output = tmp_path / "neighbors.json"
    ended = run_command(
        monkeypatch, capsys, "elmo-neighbors", model, f"{text},{tmp_path / 'more.gz'}", "--query", *QUERY,
        "--query", "rain", "no rain today", "--top", 3, "--output", output,
    )  # fmt: skip
    assert ended.status == 0 and "100%" in ended.err
    encoder = load_encoder(BiLMOptions.from_file(model / "options.json"), model / "weights.hdf5").eval()
    search = NeighborSearch(encoder.requires_grad_(False), [PLACE, TokenInContext(("no", "rain", "today"), 1)], 3)
    search.add_text([*SENTENCES, "a mill by the river".split(), ["rain"] * 20 + ["falls"]])
    written = read_neighbors(output)
    lines = iter(ended.out.splitlines())
    for number, (expected, found) in enumerate(zip(search.result(), written, strict=True)):
        assert (found["sentence"], found["position"]) == (list(expected.query.sentence), expected.query.position)
        assert number == 0 or next(lines) == ""
        assert next(lines) == expected.query.word and next(lines) == "  without its context"
        for near_word, entry in zip(expected.context_free, found["context_free"], strict=True):
            assert next(lines) == f"    {near_word.similarity:6.3f}  {near_word.word}"
            assert entry == {"similarity": pytest.approx(near_word.similarity, abs=1e-5), "word": near_word.word}
        assert next(lines) == f"  in {shown(expected.query)}"
        for near_token, entry in zip(expected.contextual, found["contextual"], strict=True):
            assert next(lines) == f"    {near_token.similarity:6.3f}  {shown(near_token.token)}"
            assert TokenInContext(tuple(entry["sentence"]), entry["position"]) == near_token.token
    assert list(lines) == []


def test_a_pipe_is_read_once(model: Path, text: Path, monkeypatch, capsys) -> None:
    of_file = run_command(monkeypatch, capsys, "elmo-neighbors", model, text, "--query", *QUERY)
    reading, writing = os.pipe()
    os.write(writing, text.read_bytes())
    os.close(writing)
    of_pipe = run_command(monkeypatch, capsys, "elmo-neighbors", model, f"/dev/fd/{reading}", "--query", *QUERY)
    os.close(reading)
    assert of_pipe.status == of_file.status == 0 and of_pipe.out == of_file.out


def test_a_vocabulary_and_a_layer(model: Path, text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    vocabulary = write_text(tmp_path / "vocab.txt", [["<S>"], ["</S>"], ["<UNK>"], ["windmill"], ["mill"]])
    ended = run_command(
        monkeypatch, capsys, "elmo-neighbors", model, text, "--query", *QUERY, "--vocab", vocabulary, "--layer", 0
    )
    assert ended.status == 0
    without, within = ended.out.split("\n  in ")
    assert {line.split()[1] for line in without.splitlines()[2:]} == {"<S>", "</S>", "<UNK>", "windmill"}
    # Layer 0 knows no context: the same word is the same everywhere.
    assert within.count("1.000") == within.count("[mill]") - 1 == 3


def test_an_archive_of_a_bilm_of_words_brings_its_vocabulary(text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    options = {
        "lstm": {"dim": 6, "projection_dim": 4, "use_skip_connections": True, "n_layers": 2},
        "bidirectional": True,
    }
    archive = write_archive(tmp_path / "model.tar.gz", archived_files(options))
    ended = run_command(monkeypatch, capsys, "elmo-neighbors", archive, text, "--query", "the", "the hen sleeps")
    assert ended.status == 0 and ended.out.startswith("the\n  without its context\n")
    exported(tmp_path, BiLMOptions.from_dict({**options, "n_tokens_vocab": 3 + len(WORDS)}))
    ended = run_command(monkeypatch, capsys, "elmo-neighbors", tmp_path, text, "--query", "the", "the hen sleeps")
    assert ended.status == 0
    (tmp_path / "vocab.txt").unlink()
    ended = run_command(monkeypatch, capsys, "elmo-neighbors", tmp_path, text, "--query", "the", "the hen sleeps")
    assert ended.status == 1 and "the vocabulary that it was trained with must be given" in only_line(ended.err)
    ended = run_command(
        monkeypatch,
        capsys,
        "elmo-neighbors",
        tmp_path,
        text,
        "--query",
        "the",
        "the hen",
        "--vocab",
        tmp_path / "v.txt",
    )
    assert ended.status == 1 and "v.txt: the vocabulary cannot be read" in only_line(ended.err)


def test_a_long_sentence_is_shown_around_the_word() -> None:
    words = [str(number) for number in range(30)]
    assert shown(TokenInContext(tuple(words), 10)) == f"... {' '.join(words[2:10])} [10] {' '.join(words[11:19])} ..."
    assert shown(TokenInContext(("a", "b"), 0)) == "[a] b"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["m", "t"], "the following arguments are required: --query"),
        (["m", "t", "--query", "no", "a word"], "--query: 'no' is not a word of the sentence 'a word'"),
        (["m", "t", "--query", "a", "a word", "--top", "0"], "--top: must be at least 1, got 0"),
        (["m", "t", "--query", "a", "a word", "--cuda-device", "99"], "--cuda-device must be below"),
    ],
)
def test_wrong_usage_has_status_2(arguments: list[str], message: str, monkeypatch, capsys) -> None:
    ended = run_command(monkeypatch, capsys, "elmo-neighbors", *arguments)
    assert ended.status == 2 and message in ended.err


def test_failures_have_status_1_and_one_line(model: Path, text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def failure(*arguments: object) -> str:
        ended = run_command(monkeypatch, capsys, "elmo-neighbors", *arguments, "--query", *QUERY)
        assert ended.status == 1 and ended.out == ""
        return only_line(ended.err)

    output = tmp_path / "neighbors.json"
    assert "no.tar.gz: there is no such file or directory" in failure(tmp_path / "no.tar.gz", text)
    assert "got a directory with 0 *options.json and 0 *.hdf5" in failure(tmp_path, text)
    assert "there is no such file" in failure(model, tmp_path / "no.txt", "--output", output)
    assert "--layer must be from 0 to 2, the layers of this biLM, got 3" in failure(model, text, "--layer", 3)
    assert "there is no directory" in failure(model, text, "--output", tmp_path / "no" / "n.json")
    assert not output.exists()


def test_an_interrupt_leaves_nothing_behind(model: Path, text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(neighbors_command.NeighborSearch, "add_text", interrupted)
    before = sorted(tmp_path.iterdir())
    ended = run_command(
        monkeypatch, capsys, "elmo-neighbors", model, text, "--query", *QUERY, "--output", tmp_path / "n.json"
    )
    assert ended.status == 130 and "interrupted: nothing was written" in ended.err
    assert sorted(tmp_path.iterdir()) == before


def test_files_of_neighbors_are_checked(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    place = {"sentence": ["a"], "position": 0}
    for content in (
        "{",
        "[1]",
        json.dumps([{**place, "position": 1, "context_free": [], "contextual": []}]),
        json.dumps([{**place, "context_free": [{"similarity": "near", "word": "a"}], "contextual": []}]),
        json.dumps([{**place, "context_free": [], "contextual": [{"similarity": 1, "sentence": [1], "position": 0}]}]),
    ):
        (tmp_path / "n.json").write_text(content, "utf-8")
        ended = run_command(monkeypatch, capsys, "elmo-report", tmp_path, "--neighbors", tmp_path / "n.json")
        assert ended.status == 1 and "must be what `allennlp elmo-neighbors --output` writes" in only_line(ended.err)
    assert not (tmp_path / "report.html").exists()


def test_a_report_has_the_neighbors(model: Path, text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    output = tmp_path / "n.json"
    run_command(monkeypatch, capsys, "elmo-neighbors", model, text, "--query", *QUERY, "--output", output)
    ended = run_command(monkeypatch, capsys, "elmo-report", tmp_path, "--neighbors", output)
    assert ended.status == 0 and f"wrote {tmp_path / 'report.html'}" in ended.out
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Nearest neighbours" in page and "the <mark>mill</mark> turns when the mill stands" in page
    ended = run_command(monkeypatch, capsys, "elmo-report", tmp_path / "nowhere")
    assert ended.status == 1 and only_line(ended.err).endswith("nowhere: there is no such directory")
    ended = run_command(monkeypatch, capsys, "elmo-report", "--help")
    assert ended.status == 0 and "allennlp elmo-report runs/bilm" in ended.out
