"""FASTA files, vectors of whole sequences, numbers of 16 bits, and the memory that a long sequence takes."""

import gzip
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference import embed_file as module
from allennlp_elmo_plus.inference.embed_file import EmbedSettings, embed_file
from benchmarks.measurement.peak_memory import peak_of
from tests.helpers.small_encoders import options_of, random_encoder

PROTEINS = {"sp|P1|ONE": "MKTAYIAKQR", "two_3-5": "GDT"}
FASTA = b">sp|P1|ONE first\nMKTAY\niakqr\n>two/3-5\nGDT\n"


@contextmanager
def silent(what, unit, total, done):
    yield lambda steps: None


@pytest.fixture(scope="module")
def embedder() -> ElmoEmbedder:
    return ElmoEmbedder(random_encoder(options_of("usual")), batch_size=6)


@pytest.fixture
def proteins(tmp_path: Path) -> Path:
    path = tmp_path / "proteins.fasta.gz"
    path.write_bytes(gzip.compress(FASTA))
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {key: dataset[...] for key, dataset in file.items()}


def test_identifiers_are_keys(embedder, proteins, tmp_path) -> None:
    embed_file(embedder, proteins, tmp_path / "vectors.h5", EmbedSettings(), silent)
    arrays = read(tmp_path / "vectors.h5")
    assert set(arrays) == set(PROTEINS)
    for key, sequence in PROTEINS.items():
        np.testing.assert_allclose(arrays[key], embedder.embed_sentence(list(sequence)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("layers", ["all", "sum"])
@pytest.mark.parametrize("output_format", ["hdf5", "npz"])
def test_a_pooled_sequence_is_the_mean_of_its_residues(embedder, proteins, tmp_path, layers, output_format) -> None:
    settings = EmbedSettings(layers, output_format=output_format, pool=True)
    output = tmp_path / f"vectors.{output_format}"
    embed_file(embedder, proteins, output, settings, silent)
    arrays = np.load(output) if output_format == "npz" else read(output)
    assert set(arrays) == set(PROTEINS)
    for key, sequence in PROTEINS.items():
        vectors = embedder.embed_sentence(list(sequence))
        expected = vectors.mean(axis=1) if layers == "all" else vectors.sum(axis=0).mean(axis=0)
        assert arrays[key].dtype == np.float32
        np.testing.assert_allclose(arrays[key], expected, rtol=0, atol=1e-5)


def test_a_pooled_blank_line_is_zeros(embedder, tmp_path) -> None:
    (tmp_path / "text.txt").write_text("the mill\n\n", encoding="utf-8")
    embed_file(embedder, tmp_path / "text.txt", tmp_path / "vectors.h5", EmbedSettings("top", pool=True), silent)
    arrays = read(tmp_path / "vectors.h5")
    assert arrays["1"].shape == (10,) and not arrays["1"].any() and arrays["0"].all()


@pytest.mark.parametrize("output_format", ["hdf5", "npz"])
def test_numbers_may_have_16_bits(embedder, proteins, tmp_path, output_format) -> None:
    settings = EmbedSettings("sum", output_format=output_format, dtype="float16")
    output = tmp_path / f"vectors.{output_format}"
    embed_file(embedder, proteins, output, settings, silent)
    arrays = np.load(output) if output_format == "npz" else read(output)
    for key, sequence in PROTEINS.items():
        assert arrays[key].dtype == np.float16
        expected = embedder.embed_sentence(list(sequence), "sum")
        np.testing.assert_allclose(arrays[key], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("changed", [{"pool": False}, {"dtype": "float16"}, {"layers": "top"}])
def test_a_file_begun_in_another_form_is_not_continued(embedder, proteins, tmp_path, monkeypatch, changed) -> None:
    settings = EmbedSettings("sum", pool=True)
    with monkeypatch.context() as interruption:
        interruption.setattr(module, "_embed_rest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            embed_file(embedder, proteins, tmp_path / "vectors.h5", settings, silent)
    with pytest.raises(InputError, match=r"was begun with another choice of layers, \['sum', 'pool'\], got"):
        embed_file(embedder, proteins, tmp_path / "vectors.h5", settings._replace(**changed), silent)
    embed_file(embedder, proteins, tmp_path / "vectors.h5", settings, silent)
    assert read(tmp_path / "vectors.h5")["two_3-5"].shape == (10,)


@pytest.mark.slow
def test_a_long_sequence_takes_the_memory_of_its_vectors_only() -> None:
    """The LSTM's working memory must not grow: 35,000 residues times 4 * 512 gates of 4 bytes would be 287 MB per layer."""
    short, long = (
        peak_of("tests.helpers.runs.sequence_memory:embed_to_file", 1, num_residues=number)
        for number in (2_000, 35_000)
    )
    vectors_of_long, vectors_of_short = long.result, short.result
    # The packed rows, and the sentence taken out of them.
    growth = 2 * (vectors_of_long - vectors_of_short)
    assert long.peak_bytes < short.peak_bytes + 1.3 * growth + 20e6
