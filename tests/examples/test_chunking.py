"""The example chunking runs from a folder of small files to figures of each kind of vectors."""

import gzip
import json
from importlib.util import find_spec

import pytest

from allennlp_elmo_plus.errors import InputError
from examples.chunking.__main__ import Measurement
from examples.chunking.chunks import choose, read_chunks
from examples.chunking.tagger import Schedule
from examples.chunking.vectors import Inputs
from examples.shared.figures import Figures
from tests.helpers.saved_bilm import saved
from tests.helpers.small_text import SENTENCES, write_text

SCHEDULES = {0.1: Schedule(2, 1), 1.0: Schedule(4, 12)}


def columns(sentences):
    """Return lines of words, parts of speech and chunks. A chunk is an article and its noun, or a noun alone."""
    blocks = []
    for words in sentences:
        after_the = [False, *(word == "the" for word in words)]
        tags = ["I-NP" if noun else "B-NP" if word == "the" else "O" for word, noun in zip(words, after_the)]
        blocks.append("".join(f"{word} X {tag}\n" for word, tag in zip(words, tags)))
    return "\n".join(blocks)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with plain and compressed files."""
    folder = tmp_path / "english"
    folder.mkdir()
    with gzip.open(folder / "conll2000_train.txt.gz", "wt", encoding="utf-8") as file:
        file.write(
            columns(
                [
                    [f"{word}{number}" if word == "summer" else word for word in words]
                    for number in range(4)
                    for words in SENTENCES
                ]
            )
        )
    (folder / "conll2000_test.txt").write_text(columns(SENTENCES[:3]), encoding="utf-8")
    write_text(folder / "train.txt", SENTENCES * 20)
    write_text(folder / "heldout.txt", SENTENCES)
    return folder


@pytest.fixture
def inputs(folder, tmp_path):
    (tmp_path / "model").mkdir()
    saved(tmp_path / "model")
    return Inputs(
        folder / "train.txt", folder / "heldout.txt", tmp_path / "model/model.tar.gz", tmp_path / "work", 0.05
    )


def test_the_hash_of_a_sentence_decides_its_part(folder):
    chunks = read_chunks(folder)
    assert len(chunks.train) + len(chunks.dev) == 40 and len(chunks.test) == 3 and chunks.dev
    parts = [{tuple(sentence.words) for sentence in part} for part in chunks[:2]]
    assert not parts[0] & parts[1]


def test_a_smaller_share_is_a_part_of_a_larger_and_each_seed_has_its_own(folder):
    sentences = read_chunks(folder).train
    assert choose(sentences, 0.5, 1)[:3] == choose(sentences, 3 / len(sentences), 1)
    assert choose(sentences, 0.5, 1) != choose(sentences, 0.5, 2)
    assert len(choose(sentences, 0.001, 1)) == 1 and len(choose(sentences, 1.0, 1)) == len(sentences)


def test_a_missing_file_is_named(folder):
    (folder / "conll2000_test.txt").unlink()
    with pytest.raises(InputError, match="must have the file conll2000_test.txt or conll2000_test.txt.gz"):
        read_chunks(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "bilm", "untrained", "fasttext", "word2vec", "flair"])
def test_each_kind_of_vectors_has_figures_and_is_not_repeated(folder, inputs, tmp_path, kind):
    library = {"fasttext": "gensim", "word2vec": "gensim"}.get(kind, kind)
    if library in ("gensim", "flair") and find_spec(library) is None:
        pytest.skip(f"needs {library}")
    figures = Figures(tmp_path / "figures.jsonl")
    measurement = Measurement(read_chunks(folder), inputs, figures)
    measurement.run(kind, [1], SCHEDULES)
    lines = figures.lines({"task": "chunks", "vectors": kind, "seed": 1})
    assert [line["share"] for line in lines] == [0.1, 1.0]
    # "the" and the word after it are enough to see.
    assert lines[1]["F1"] > 80
    before = figures.lines({})
    measurement.run(kind, [1], SCHEDULES)
    assert figures.lines({}) == before


@pytest.mark.slow
def test_the_bilm_of_each_directory_has_figures_of_its_own(folder, inputs, tmp_path):
    (tmp_path / "other").mkdir()
    saved(tmp_path / "other")
    figures, schedules = Figures(tmp_path / "figures.jsonl"), {0.1: SCHEDULES[0.1]}
    for name in ("model", "other", "model"):
        own = inputs._replace(model=tmp_path / name / "model.tar.gz")
        Measurement(read_chunks(folder), own, figures).run("bilm", [1], schedules)
    assert [line["model"] for line in figures.lines({"task": "chunks"})] == ["model", "other"]
    assert [line["model"] for line in figures.lines({"task": "vectors"})] == ["model", "other"]


def test_a_missing_bilm_is_refused(folder, inputs, tmp_path):
    measurement = Measurement(read_chunks(folder), inputs._replace(model=None), Figures(tmp_path / "figures.jsonl"))
    with pytest.raises(InputError, match="`--models` must name a pretrained biLM .*, got none"):
        measurement.run("bilm", [1], SCHEDULES)


def test_the_time_of_a_bilms_training_is_the_one_beside_its_archive(folder, inputs, tmp_path):
    (tmp_path / "model/processor_minutes").write_text("12.5\n", encoding="utf-8")
    figures = Figures(tmp_path / "figures.jsonl")
    Measurement(read_chunks(folder), inputs, figures).run("bilm", [1], {0.1: SCHEDULES[0.1]})
    (line,) = figures.lines({"task": "vectors"})
    assert line["minutes"] == 12.5


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs matplotlib")
def test_the_picture_names_each_kind_of_vectors_that_was_measured(tmp_path):
    from examples.chunking.plot import draw

    lines = [
        {
            "task": "chunks",
            "vectors": kind,
            "share": share,
            "sentences": int(80 * share * 100),
            "seed": seed,
            "F1": 80.0,
        }
        for kind in ("bilm", "none")
        for share in (0.01, 1.0)
        for seed in (1, 2)
    ]
    (tmp_path / "figures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for picture in pictures:
        draw(Figures(tmp_path / "figures.jsonl"), picture)
    text = pictures[0].read_text("utf-8")
    assert "<!-- biLM -->" in text and "<!-- no pretrained vectors -->" in text and "<!-- flair -->" not in text
    assert text == pictures[1].read_text("utf-8")
