"""The spaCy component `elmo_plus`, compared with `ElmoEmbedder`."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from allennlp_elmo_plus import ElmoEmbedder, InputError
from tests.helpers.saved_bilm import saved

spacy = pytest.importorskip("spacy")
# Registers the component in this process; an installed package is found by its entry point.
import allennlp_elmo_plus.integrations._spacy  # noqa: E402, F401

ROOT = Path(__file__).resolve().parents[3]
TEXT = "The mill turns.  The river rises."
FIRST, SECOND = ["The", "mill", "turns", "."], ["The", "river", "rises", "."]
# A token of white space, which spaCy makes of the second of two spaces.
SPACE = 4


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bilm")
    saved(directory)
    return directory


@pytest.fixture(scope="module")
def embedder(directory: Path) -> ElmoEmbedder:
    return ElmoEmbedder.from_pretrained(directory / "model.tar.gz")


def pipeline(model: Path, *first: str, **config: object) -> "spacy.Language":
    nlp = spacy.blank("en")
    for name in first:
        nlp.add_pipe(name)
    nlp.add_pipe("elmo_plus", config={"model": str(model), **config})
    return nlp


def close(ours: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_tokens_have_the_vectors_of_their_sentence_and_spans_and_documents_the_means(
    directory: Path, embedder: ElmoEmbedder
) -> None:
    doc = pipeline(directory, "sentencizer")(TEXT)
    assert [token.text for token in doc] == [*FIRST, " ", *SECOND]
    first, second = embedder.embed_batch([FIRST, SECOND], "average")
    expected = np.concatenate([first, np.zeros((1, first.shape[1])), second])
    close(doc.tensor, expected)
    assert doc.tensor.dtype == np.float32
    close(np.stack([token.vector for token in doc]), expected)
    close(doc[1:3].vector, expected[1:3].mean(axis=0))
    close(doc.vector, expected.mean(axis=0))
    assert doc.has_vector and doc[0].has_vector and not doc[SPACE].has_vector


def test_without_sentence_boundaries_a_document_is_one_sentence(directory: Path, embedder: ElmoEmbedder) -> None:
    doc = pipeline(directory)(TEXT)
    expected = embedder.embed_sentence([*FIRST, *SECOND], "average")
    close(np.delete(doc.tensor, SPACE, axis=0), expected)


@pytest.mark.parametrize("layers", ["top", 1])
def test_layers_are_chosen_in_the_config(directory: Path, embedder: ElmoEmbedder, layers: object) -> None:
    doc = pipeline(directory, layers=layers)("The mill turns.")
    close(doc.tensor, embedder.embed_sentence(FIRST, layers))


def test_all_layers_are_concatenated(directory: Path, embedder: ElmoEmbedder) -> None:
    doc = pipeline(directory, layers="all")("The mill turns.")
    close(doc.tensor, np.concatenate(embedder.embed_sentence(FIRST), axis=1))


def test_similarity_is_that_of_the_words_in_context(directory: Path, embedder: ElmoEmbedder) -> None:
    nlp = pipeline(directory, "sentencizer", layers="top")
    doc, other = nlp.pipe([TEXT, "The mill rises."])
    # spaCy's own similarity of two equal words is 1.
    expected = embedder.word_similarity(FIRST, 0, SECOND, 0, "top")
    assert doc[0].similarity(doc[5]) == pytest.approx(expected, abs=1e-5)
    assert expected < 0.999
    expected = embedder.sentence_similarity(FIRST, ["The", "mill", "rises", "."], "top")
    assert doc[:4].similarity(other) == pytest.approx(expected, abs=1e-5)
    assert other.similarity(doc[:4]) == pytest.approx(expected, abs=1e-5)
    nlp.vocab.set_vector("mill", np.ones(3, dtype=np.float32))
    with pytest.raises(InputError, match="`similarity` needs two vectors of one width, .* got 10 and 3 numbers"):
        doc[0].similarity(nlp.vocab["mill"])


def test_word_vectors_of_the_pipeline_are_not_used(directory: Path) -> None:
    nlp = pipeline(directory)
    nlp.vocab.set_vector("mill", np.ones(3, dtype=np.float32))
    doc = nlp("The mill turns.")
    close(doc[1].vector, doc.tensor[1])
    close(doc[:2].vector, doc.tensor[:2].mean(axis=0))
    close(doc.vector, doc.tensor.mean(axis=0))


def test_documents_are_embedded_in_batches(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = pipeline(directory)
    component = nlp.get_pipe("elmo_plus")
    sizes: list[int] = []
    embed_sentences = component.embedder.embed_sentences

    def counted(sentences: list[list[str]], layers: str) -> object:
        sizes.append(len(sentences))
        return embed_sentences(sentences, layers)

    monkeypatch.setattr(component.embedder, "embed_sentences", counted)
    texts = ["The mill turns.", "", "  ", "The river rises.", "Rain"]
    docs = list(nlp.pipe(texts, batch_size=3))
    # An empty document has no sentence.
    assert sizes == [2, 2]
    assert [doc.text for doc in docs] == texts
    for doc, text in zip(docs, texts, strict=True):
        close(doc.tensor, nlp(text).tensor)
    assert docs[1].vector.shape == (10,) and not docs[1].vector.any()


def test_several_processes_and_stored_documents_keep_the_vectors(directory: Path) -> None:
    nlp = pipeline(directory, "sentencizer")
    expected = nlp(TEXT)
    # spaCy stores `doc.tensor`, from which it takes vectors where it has no others, but not the hooks.
    with pytest.warns(UserWarning, match="W109"):
        stored = spacy.tokens.Doc(nlp.vocab).from_bytes(expected.to_bytes())
    in_process = next(nlp.pipe([TEXT], n_process=2))
    for other in (stored, in_process):
        close(other[1].vector, expected[1].vector)
        close(other.vector, expected.vector)


def test_a_component_that_was_used_reads_the_bilm_of_another_pipeline(directory: Path, tmp_path: Path) -> None:
    nlp = pipeline(directory)
    nlp("The mill turns.")
    nlp.get_pipe("elmo_plus").from_disk(tmp_path)
    with pytest.raises(InputError, match="there is no such file"):
        nlp("The mill turns.")


@pytest.mark.parametrize("form", ["archive", "run", "directory"])
def test_a_saved_pipeline_needs_no_other_file(directory: Path, tmp_path: Path, form: str) -> None:
    model = tmp_path / "moved"
    model.mkdir()
    if form == "archive":
        model = model / "model.tar.gz"
        model.write_bytes((directory / "model.tar.gz").read_bytes())
    else:
        names = ["options.json", "weights.hdf5"] if form == "directory" else ["model.tar.gz", "best.th"]
        for name in names:
            (model / name).write_bytes((directory / name).read_bytes() if name != "best.th" else b"")
    nlp = pipeline(model, "sentencizer", layers="top")
    expected = nlp(TEXT).tensor
    saved_to = tmp_path / "pipeline"
    nlp.to_disk(saved_to)
    model.rename(tmp_path / "elsewhere")
    loaded = spacy.load(saved_to)
    close(loaded(TEXT).tensor, expected)
    # Saved again where it lies, and elsewhere.
    loaded.to_disk(saved_to)
    loaded.to_disk(tmp_path / "again")
    close(spacy.load(saved_to)(TEXT).tensor, expected)
    close(spacy.load(tmp_path / "again")(TEXT).tensor, expected)
    copied = saved_to / "elmo_plus" / "model"
    files = {"archive": [], "run": ["model.tar.gz"], "directory": ["options.json", "weights.hdf5"]}[form]
    assert copied.is_file() == (form == "archive")
    assert sorted(path.name for path in copied.glob("*")) == files


def test_a_pipeline_saved_over_another_replaces_its_model(directory: Path, tmp_path: Path) -> None:
    pipeline(directory).to_disk(tmp_path / "pipeline")
    nlp = pipeline(directory / "model.tar.gz")
    nlp.to_disk(tmp_path / "pipeline")
    close(spacy.load(tmp_path / "pipeline")(TEXT).tensor, nlp(TEXT).tensor)


def test_a_pipeline_may_be_saved_over_the_model_that_it_uses(directory: Path, tmp_path: Path) -> None:
    inside = tmp_path / "pipeline" / "elmo_plus" / "model"
    inside.mkdir(parents=True)
    shutil.copy(directory / "model.tar.gz", inside)
    nlp = pipeline(inside / "model.tar.gz")
    expected = nlp(TEXT).tensor
    for _ in range(2):
        nlp.to_disk(tmp_path / "pipeline")
        nlp = spacy.load(tmp_path / "pipeline")
        close(nlp(TEXT).tensor, expected)
    # A directory takes the place of a file.
    pipeline(directory).to_disk(tmp_path / "pipeline")
    close(spacy.load(tmp_path / "pipeline")(TEXT).tensor, pipeline(directory)(TEXT).tensor)


def test_a_missing_model_is_named_when_the_first_document_comes(tmp_path: Path) -> None:
    nlp = pipeline(tmp_path / "absent")
    with pytest.raises(InputError, match="absent: there is no such file or directory"):
        nlp("The mill turns.")


@pytest.mark.slow
def test_an_installed_package_is_found_by_its_entry_point(directory: Path, tmp_path: Path) -> None:
    metadata = ["setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run([sys.executable, *metadata], cwd=ROOT, check=True, capture_output=True)
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import spacy; nlp = spacy.blank('en'); "
        f"nlp.add_pipe('elmo_plus', config={{'model': {str(directory)!r}}}); print(nlp('The mill').vector.shape)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout == "(10,)\n", result.stderr
