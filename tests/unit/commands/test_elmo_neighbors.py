"""`allennlp elmo-neighbors` as it is typed."""

import gzip
import os
from pathlib import Path

import pytest

from allennlp_elmo_plus.commands import elmo_neighbors as neighbors_command
from allennlp_elmo_plus.commands.elmo_neighbors import excerpt
from allennlp_elmo_plus.formats.pretrained import load_encoder
from allennlp_elmo_plus.inference.neighbors import NeighborSearch, TokenInContext
from allennlp_elmo_plus.inference.neighbors_file import read_neighbors
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.command_line import only_line
from tests.helpers.exported_bilm import WORDS, exported
from tests.helpers.small_archives import archived_files, write_archive
from tests.helpers.small_text import SENTENCES, write_text

QUERY = ("mill", "the mill turns when the mill stands")
PLACE = TokenInContext(tuple(QUERY[1].split()), 1)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    write_text(tmp_path / "text.txt", SENTENCES)
    with gzip.open(tmp_path / "more.gz", "wt", encoding="utf-8") as file:
        file.write("a mill by the river\n\n" + "rain " * 20 + "falls\n")
    return tmp_path / "text.txt"


def test_the_table_and_the_file(bilm: Path, text: Path, tmp_path: Path, run) -> None:
    output = tmp_path / "neighbors.json"
    queries = ("--query", *QUERY, "--query", "rain", "no rain today")
    ended = run("elmo-neighbors", bilm, f"{text},{tmp_path / 'more.gz'}", *queries, "--top", 3, "--output", output)
    assert ended.status == 0 and "100%" in ended.err
    encoder = load_encoder(BiLMOptions.from_file(bilm / "options.json"), bilm / "weights.hdf5").eval()
    search = NeighborSearch(encoder.requires_grad_(False), [PLACE, TokenInContext(("no", "rain", "today"), 1)], 3)
    search.add_text([*SENTENCES, "a mill by the river".split(), ["rain"] * 20 + ["falls"]])
    written = read_neighbors(output)
    lines = iter(ended.out.splitlines())
    for number, (expected, query) in enumerate(zip(search.result(), written, strict=True)):
        assert (query["sentence"], query["position"]) == (list(expected.query.sentence), expected.query.position)
        assert number == 0 or next(lines) == ""
        assert next(lines) == expected.query.word and next(lines) == "  without its context"
        for near_word, entry in zip(expected.context_free, query["context_free"], strict=True):
            assert next(lines) == f"    {near_word.similarity:6.3f}  {near_word.word}"
            assert entry == {"similarity": pytest.approx(near_word.similarity, abs=1e-5), "word": near_word.word}
        assert next(lines) == f"  in {excerpt(expected.query)}"
        for near_token, entry in zip(expected.contextual, query["contextual"], strict=True):
            assert next(lines) == f"    {near_token.similarity:6.3f}  {excerpt(near_token.token)}"
            assert TokenInContext(tuple(entry["sentence"]), entry["position"]) == near_token.token
    assert list(lines) == []


def test_a_pipe_is_read_once(bilm: Path, text: Path, run) -> None:
    from_file = run("elmo-neighbors", bilm, text, "--query", *QUERY)
    reading, writing = os.pipe()
    os.write(writing, text.read_bytes())
    os.close(writing)
    from_pipe = run("elmo-neighbors", bilm, f"/dev/fd/{reading}", "--query", *QUERY)
    os.close(reading)
    assert from_pipe.status == from_file.status == 0 and from_pipe.out == from_file.out


def test_a_vocabulary_and_a_layer(bilm: Path, text: Path, tmp_path: Path, run) -> None:
    vocabulary = write_text(tmp_path / "vocab.txt", [["<S>"], ["</S>"], ["<UNK>"], ["windmill"], ["mill"]])
    ended = run("elmo-neighbors", bilm, text, "--query", *QUERY, "--vocab", vocabulary, "--layer", 0)
    assert ended.status == 0
    without, within = ended.out.split("\n  in ")
    assert {line.split()[1] for line in without.splitlines()[2:]} == {"windmill"}
    # Layer 0 knows no context: the same word is the same everywhere.
    assert within.count("1.000") == within.count("[mill]") - 1 == 3


def test_a_bilm_of_word_input_needs_its_vocabulary(text: Path, tmp_path: Path, run) -> None:
    options = {"lstm": {"dim": 6, "projection_dim": 4, "use_skip_connections": True, "n_layers": 2}}
    archive = write_archive(tmp_path / "model.tar.gz", archived_files(options))
    vocabulary = write_text(tmp_path / "candidates.txt", [["<S>"], ["</S>"], ["<UNK>"], ["hen"]])
    query = ("--query", "the", "the hen sleeps")
    ended = run("elmo-neighbors", archive, text, *query)
    assert ended.status == 0 and ended.out.startswith("the\n  without its context\n")
    # The ids of words are those of the archive, not those of the candidates.
    ended = run("elmo-neighbors", archive, text, *query, "--vocab", vocabulary)
    assert ended.status == 0 and "  hen\n" in ended.out

    directory = tmp_path / "exported"
    exported(directory, BiLMOptions.from_dict({**options, "n_tokens_vocab": 3 + len(WORDS)}))
    from_its_directory = run("elmo-neighbors", directory, text, *query)
    own_vocabulary = (directory / "vocab.txt").rename(tmp_path / "vocab.txt")
    from_option = run("elmo-neighbors", directory, text, *query, "--vocab", own_vocabulary)
    assert from_its_directory.status == from_option.status == 0
    ended = run("elmo-neighbors", directory, text, *query)
    assert ended.status == 1 and "a biLM of word input needs its vocabulary" in only_line(ended.err)
    ended = run("elmo-neighbors", directory, text, *query, "--vocab", tmp_path / "absent.txt")
    assert ended.status == 1 and "absent.txt: there is no such file" in only_line(ended.err)


def test_a_long_sentence_is_shown_around_the_word() -> None:
    words = [str(number) for number in range(30)]
    assert excerpt(TokenInContext(tuple(words), 10)) == f"... {' '.join(words[2:10])} [10] {' '.join(words[11:19])} ..."
    assert excerpt(TokenInContext(("a", "b"), 0)) == "[a] b"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["m", "t"], "the following arguments are required: --query"),
        (["m", "t", "--query", "no", "a word"], "--query: 'no' is not a word of the sentence 'a word'"),
        (["m", "t", "--query", "a", "a word", "--top", "0"], "--top: must be at least 1, got 0"),
        (["m", "t", "--query", "a", "a word", "--cuda-device", "99"], "argument --cuda-device: must be -1, or below "),
    ],
)
def test_wrong_usage_has_status_2(arguments: list[str], message: str, run) -> None:
    ended = run("elmo-neighbors", *arguments)
    assert ended.status == 2 and message in ended.err


def test_failures_have_status_1_and_one_line(bilm: Path, text: Path, tmp_path: Path, run) -> None:
    def failure(*arguments: object) -> str:
        ended = run("elmo-neighbors", *arguments, "--query", *QUERY)
        assert ended.status == 1 and ended.out == ""
        return only_line(ended.err)

    output = tmp_path / "neighbors.json"
    assert "no.tar.gz: there is no such file or directory" in failure(tmp_path / "no.tar.gz", text)
    assert "got a directory with 0 *options.json and 0 *.hdf5" in failure(tmp_path, text)
    assert "there is no such file" in failure(bilm, tmp_path / "no.txt", "--output", output)
    assert "--layer must be from 0 to 2, the layers of this biLM, got 3" in failure(bilm, text, "--layer", 3)
    assert "there is no directory" in failure(bilm, text, "--output", tmp_path / "no" / "n.json")
    assert not output.exists()


def test_a_query_that_is_no_utf8_is_refused_before_the_model_is_read(text: Path, run) -> None:
    ended = run("elmo-neighbors", "absent.tar.gz", text, "--query", "caf\udce9", "the caf\udce9")
    assert ended.status == 1 and only_line(ended.err) == r"error: words must be UTF-8, got 'the caf\udce9'"


def test_an_interrupt_leaves_nothing_behind(bilm: Path, text: Path, tmp_path: Path, run, monkeypatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(neighbors_command.NeighborSearch, "add_text", interrupted)
    before = sorted(tmp_path.iterdir())
    ended = run("elmo-neighbors", bilm, text, "--query", *QUERY, "--output", tmp_path / "n.json")
    assert ended.status == 130 and "interrupted: no file was changed" in ended.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_report_has_the_neighbors(bilm: Path, text: Path, tmp_path: Path, run) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    output = tmp_path / "n.json"
    run("elmo-neighbors", bilm, text, "--query", *QUERY, "--output", output)
    ended = run("elmo-report", tmp_path, "--neighbors", output)
    assert ended.status == 0 and f"wrote {tmp_path / 'report.html'}" in ended.out
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Nearest neighbours" in page and "the <mark>mill</mark> turns when the mill stands" in page
    ended = run("elmo-report", tmp_path / "nowhere")
    assert ended.status == 1 and only_line(ended.err).endswith("nowhere: there is no such directory")
    ended = run("elmo-report", "--help")
    assert ended.status == 0 and "elmo-plus report runs/bilm" in ended.out


def test_a_report_compares_several_runs(tmp_path: Path, run) -> None:
    runs = [tmp_path / "first", tmp_path / "second"]
    for directory in runs:
        directory.mkdir()
        (directory / "config.json").write_text(f'{{"name": "{directory.name}"}}', "utf-8")
    ended = run("elmo-report", *runs, "--output", tmp_path / "page.html")
    assert ended.status == 0 and "wrote" in ended.out
    assert "2 runs" in (tmp_path / "page.html").read_text("utf-8")
    ended = run("elmo-report", *runs, "--neighbors", "neighbors.json")
    assert ended.status == 2 and "--neighbors must come with one run, got 2" in ended.err


def test_a_run_that_is_named_twice_is_shown_once(tmp_path: Path, run) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "config.json").write_text("{}", "utf-8")
    (tmp_path / "latest").symlink_to("first")
    once = run("elmo-report", tmp_path / "first", "--output", tmp_path / "once.html")
    twice = run("elmo-report", tmp_path / "first", tmp_path / "latest", "--output", tmp_path / "twice.html")
    assert once.status == twice.status == 0
    assert (tmp_path / "once.html").read_text("utf-8") == (tmp_path / "twice.html").read_text("utf-8")


def test_a_report_does_not_replace_the_neighbors_that_it_shows(tmp_path: Path, run) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    (tmp_path / "n.json").write_text("[]", "utf-8")
    ended = run("elmo-report", tmp_path, "--neighbors", tmp_path / "n.json", "--output", tmp_path / "n.json")
    assert ended.status == 2 and "the output must be another file than the input" in only_line(ended.err)
    assert (tmp_path / "n.json").read_text("utf-8") == "[]"
