"""The example low_resource runs from a folder of small files to the figures of each task."""

import gzip
from importlib.util import find_spec

import pytest

from allennlp_elmo_plus.errors import InputError
from examples.low_resource.__main__ import measure
from examples.low_resource.language import read_language, to_bioul
from examples.low_resource.vectors import make_vectors
from examples.shared.figures import Figures
from examples.shared.flair_models import train_flair
from tests.helpers.small_text import SENTENCES, small_model_config, write_text

BILM = {
    "model": small_model_config(),
    "dataset_reader.token_indexers.characters.max_characters_per_token": 50,
    "vocabulary.min_count": 1,
    "trainer.num_epochs": 1,
}
TASK = {"trainer.num_epochs": 1, "model.encoder": {"type": "pass_through", "input_dim": 16}}


def conllu(sentences):
    """Return a treebank: each word depends on the one before. A sentence has a comment, a multiword token and an empty node."""
    lines = []
    for words in sentences:
        lines += ["# text = " + " ".join(words), "1-2\t" + words[0] + words[1] + 8 * "\t_"]
        for head, word in enumerate(words):
            tag = "PUNCT" if word == "." else "NOUN"
            relation = "root" if head == 0 else "dep"
            lines.append(f"{head + 1}\t{word}\t_\t{tag}\t_\t_\t{head}\t{relation}\t_\t_")
        lines += ["3.1\tempty" + 8 * "\t_", ""]
    return "\n".join(lines) + "\n"


def bio(sentences):
    words = [["miller B-PER" if word == "miller" else f"{word} O" for word in sentence] for sentence in sentences]
    return "\n\n".join("\n".join(sentence) for sentence in words) + "\n"


@pytest.fixture
def folder(tmp_path):
    """Return a folder with plain and compressed files, and without development data."""
    folder = tmp_path / "millish"
    folder.mkdir()
    with gzip.open(folder / "train.txt.gz", "wt", encoding="utf-8") as file:
        file.write("".join(" ".join(sentence) + "\n" for sentence in SENTENCES * 3))
    write_text(folder / "heldout.txt", SENTENCES)
    spaced = [[word.replace("river", "wide river") for word in sentence] for sentence in SENTENCES]
    (folder / "xx_mill-ud-train.conllu").write_text(conllu(spaced * 2), encoding="utf-8")
    (folder / "xx_mill-ud-test.conllu").write_text(conllu(SENTENCES), encoding="utf-8")
    (folder / "wikiann-xx_train.bio").write_text(bio(SENTENCES * 2), encoding="utf-8")
    (folder / "wikiann-xx_test.bio").write_text(bio(SENTENCES), encoding="utf-8")
    return folder


def test_the_files_are_found_and_a_missing_dev_part_is_made(folder, tmp_path):
    language = read_language(folder, tmp_path / "work")
    assert language.name == "millish" and language.text.name == "train.txt.gz"
    parts = {part: path.read_text("utf-8") for part, path in language.treebank.items()}
    assert {part: text.count("root") for part, text in parts.items()} == {"train": 18, "dev": 2, "test": 10}
    assert "empty" not in parts["train"] and "1-2" not in parts["train"] and "wide_river" in parts["train"]
    assert "miller U-PER\n" in language.names["train"].read_text("utf-8")
    assert {"wide_river", "river", "miller"} <= language.task_words() and language.num_words() == 3 * 87
    assert tuple(SENTENCES[0]) in language.task_sentences()


def test_a_folder_without_names_has_no_names_and_without_text_is_refused(folder, tmp_path):
    (folder / "wikiann-xx_test.bio").unlink()
    assert read_language(folder, tmp_path / "work").names == {}
    (folder / "heldout.txt.gz").touch()
    with pytest.raises(InputError, match=r"must have one file heldout.txt, got heldout.txt, heldout.txt.gz"):
        read_language(folder, tmp_path / "work")
    (folder / "train.txt.gz").unlink()
    (folder / "heldout.txt.gz").unlink()
    with pytest.raises(InputError, match="must have the files train.txt and heldout.txt"):
        read_language(folder, tmp_path / "work")


def test_tags_of_each_scheme_become_bioul():
    bioul = ["U-PER", "O", "B-LOC", "I-LOC", "L-LOC", "U-LOC", "U-ORG"]
    bio = ["B-PER", "O", "B-LOC", "I-LOC", "I-LOC", "B-LOC", "B-ORG"]
    iob1 = ["I-PER", "O", "I-LOC", "I-LOC", "I-LOC", "B-LOC", "I-ORG"]
    assert to_bioul(bioul) == to_bioul(bio) == to_bioul(iob1) == bioul
    for tags in (["B-PER", "E-PER"], ["LOC"]):
        with pytest.raises(InputError, match=f"^a tag must be O, or begin with .*, got {tags[-1]}$"):
            to_bioul(tags)


@pytest.mark.slow
def test_every_task_has_figures_and_is_not_repeated(folder, tmp_path):
    figures = Figures(tmp_path / "figures.jsonl")
    tasks = ["pos"] + (["names", "parser_small", "parser_published"] if find_spec("allennlp_models") else [])
    vectors = ["bilm", "untrained"]

    def run():
        measure(folder, tmp_path / "work", tasks, vectors, [1], figures, BILM, TASK)

    run()
    for task in tasks:
        lines = figures.lines({"language": "millish", "task": task, "seed": 1})
        assert [line["vectors"] for line in lines] == vectors
        assert all(
            0 <= value <= 100 for line in lines for name, value in line.items() if name.isupper() or "acc" in name
        )
    assert figures.lines({"task": "pretraining"})[0]["perplexity"] > 1
    before = figures.lines({})
    run()
    assert figures.lines({}) == before


def test_an_untrained_bilm_needs_no_pretraining(folder, tmp_path):
    language = read_language(folder, tmp_path / "work")
    vectors = make_vectors("untrained", language, tmp_path / "work", BILM)
    assert vectors.figures == {} and not (tmp_path / "work/bilm").exists()
    assert vectors.embedding.width == 16 and vectors.embedding.embedders["bilm"]["options"]["lstm"]["dim"] == 16


@pytest.mark.skipif(find_spec("gensim") is None, reason="needs gensim")
def test_vectors_beside_each_other_have_figures(folder, tmp_path):
    figures = Figures(tmp_path / "figures.jsonl")
    overrides = {"trainer.num_epochs": 1, "model.encoder": {"type": "pass_through", "input_dim": 16 + 200}}
    measure(folder, tmp_path / "work", ["pos"], ["bilm+fasttext"], [1], figures, BILM, overrides)
    assert figures.lines({"task": "pos", "vectors": "bilm+fasttext"})[0]["accuracy"] > 0
    parts = [float((tmp_path / "work" / name).read_text()) for name in ("bilm/processor_minutes", "fasttext.minutes")]
    assert figures.lines({"task": "pretraining", "vectors": "bilm+fasttext"})[0]["minutes"] == sum(parts)


@pytest.mark.skipif(find_spec("gensim") is None, reason="needs gensim")
@pytest.mark.parametrize("kind", ["fasttext", "word2vec"])
def test_gensims_vectors_have_figures(folder, tmp_path, kind):
    figures = Figures(tmp_path / "figures.jsonl")
    overrides = {"trainer.num_epochs": 1, "model.encoder": {"type": "pass_through", "input_dim": 200}}
    measure(folder, tmp_path / "work", ["pos"], [kind], [1], figures, {}, overrides)
    assert figures.lines({"task": "pos", "vectors": kind})[0]["accuracy"] > 0
    words = [line.split(" ", 1)[0] for line in (tmp_path / "work" / f"{kind}.txt").read_text("utf-8").splitlines()]
    assert "river" in words
    # It is not in the text: only fastText has a vector.
    assert ("wide_river" in words) == (kind == "fasttext")


@pytest.mark.skipif(find_spec("flair") is None, reason="needs flair")
def test_flair_has_the_time_of_the_bilm_and_figures(folder, tmp_path, monkeypatch):
    times = []

    def train_for_a_second(text, heldout, work, minutes):
        times.append(minutes)
        return train_flair(text, heldout, work, minutes=1 / 60)

    monkeypatch.setattr("examples.low_resource.vectors.train_flair", train_for_a_second)
    figures = Figures(tmp_path / "figures.jsonl")
    overrides = {"trainer.num_epochs": 1, "model.encoder": {"type": "pass_through", "input_dim": 512}}
    measure(folder, tmp_path / "work", ["pos"], ["flair"], [1], figures, BILM, overrides)
    assert times == [float((tmp_path / "work/bilm/processor_minutes").read_text("utf-8"))]
    assert figures.lines({"task": "pos", "vectors": "flair"})[0]["accuracy"] > 0
