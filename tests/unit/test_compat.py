"""The module `allennlp.commands.elmo`, against AllenNLP's own modules used as its 0.9 used them, and used as old programs use it."""

import importlib.util
import io
import json
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from allennlp_elmo_plus import compat
from allennlp_elmo_plus.compat import ElmoEmbedder
from allennlp_elmo_plus.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
OPTIONS, WEIGHTS = str(FIXTURES / "options.json"), str(FIXTURES / "weights.hdf5")
SENTENCES = [line.split() for line in (FIXTURES / "sentences.txt").read_text("utf-8").splitlines()]


def embedder() -> ElmoEmbedder:
    return ElmoEmbedder(OPTIONS, WEIGHTS)


def random_batches(num_batches: int) -> Iterator[list[list[str]]]:
    """Batches of 1 to 7 sentences of 0 to 9 words, at least one of them with a word."""
    rng = random.Random(1)
    words = [word for sentence in SENTENCES for word in sentence]
    for _ in range(num_batches):
        batch = [rng.choices(words, k=rng.choice([0, 1, 2, 5, 9])) for _ in range(rng.randint(1, 7))]
        yield batch if any(batch) else [*batch, ["the"]]


def test_vectors_and_carried_state_are_those_of_allennlp() -> None:
    elmo = pytest.importorskip("allennlp.modules.elmo")
    from allennlp.nn.util import remove_sentence_boundaries

    bilm = elmo._ElmoBiLm(OPTIONS, WEIGHTS)
    ours = embedder()
    for batch in random_batches(40):
        with torch.no_grad():
            output = bilm(elmo.batch_to_ids(batch))
        parts = [remove_sentence_boundaries(layer, output["mask"]) for layer in output["activations"]]
        expected = torch.stack([layer for layer, _ in parts], dim=1)
        vectors, mask = ours.batch_to_embeddings(batch)
        torch.testing.assert_close(vectors, expected, rtol=0, atol=5e-6)
        assert mask.dtype == torch.int64 and torch.equal(mask.bool(), parts[0][1])
        for state, expected_state in zip(ours.elmo_bilm._elmo_lstm._states, bilm._elmo_lstm._states, strict=True):
            torch.testing.assert_close(state, expected_state, rtol=0, atol=5e-6)


def test_the_first_batch_starts_from_zeros_and_the_next_does_not() -> None:
    expected = np.load(FIXTURES / "layers.npz")
    ours = embedder()
    for number, array in enumerate(ours.embed_batch(SENTENCES)):
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, expected[f"sentence_{number}"], rtol=0, atol=1e-6)
    again = ours.embed_sentence(SENTENCES[0])
    assert np.abs(again - expected["sentence_0"]).max() > 1e-3
    ours.elmo_bilm._elmo_lstm.reset_states()
    np.testing.assert_allclose(ours.embed_sentence(SENTENCES[0]), expected["sentence_0"], rtol=0, atol=1e-6)
    ours.elmo_bilm._elmo_lstm.stateful = False
    np.testing.assert_allclose(ours.embed_sentence(SENTENCES[0]), expected["sentence_0"], rtol=0, atol=1e-6)


def test_sentences_are_embedded_in_batches_in_their_order_as_they_come() -> None:
    sentences = [SENTENCES[number % 3][: number % 5] for number in range(130)]
    expected_of = embedder()
    expected = [
        array for first in range(0, 130, 64) for array in expected_of.embed_batch(sentences[first : first + 64])
    ]
    arrays = embedder().embed_sentences(iter(sentences))
    for array, expected_array in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, expected_array)
    endless = embedder().embed_sentences((["the"] for _ in count()), batch_size=2)
    assert len(list(islice(endless, 3))) == 3


def test_sentences_without_words_have_no_vectors_and_change_no_state() -> None:
    ours = embedder()
    assert ours.embed_batch([]) == []
    for array in [ours.embed_sentence([]), *ours.embed_batch([[], []])]:
        assert array.shape == (3, 0, 10)
    assert ours.elmo_bilm._elmo_lstm._states is None
    assert [array.shape for array in ours.embed_batch([["the"], []])] == [(3, 1, 10), (3, 0, 10)]


@pytest.mark.parametrize("output_format", ["all", "top", "average"])
def test_a_file_holds_one_dataset_per_line(output_format: str, tmp_path: Path) -> None:
    lines = "the mill turns\n  the river rises \nthe mill turns\n"
    path = tmp_path / "vectors.hdf5"
    path.write_bytes(b"an earlier file")
    text = io.StringIO(lines)
    embedder().embed_file(text, str(path), output_format, batch_size=2)
    assert text.closed
    arrays = list(embedder().embed_sentences([line.split() for line in lines.splitlines()], batch_size=2))
    with h5py.File(path) as file:
        assert set(file) == {"0", "1", "2", "sentence_to_index"}
        for number, array in enumerate(arrays):
            expected = {"all": array, "top": array[-1], "average": array.mean(axis=0)}[output_format]
            assert file[str(number)].dtype == np.float32
            np.testing.assert_array_equal(file[str(number)][...], expected)
        assert json.loads(file["sentence_to_index"][0]) == {"the mill turns": "2", "the river rises": "1"}


@pytest.mark.parametrize("options, keys", [({"forget_sentences": True}, "01"), ({"use_sentence_keys": True}, "ab")])
def test_a_file_may_leave_out_sentences_or_have_them_as_keys(options: dict, keys: str, tmp_path: Path) -> None:
    embedder().embed_file(io.StringIO("a\nb\n"), tmp_path / "vectors.hdf5", **options)
    with h5py.File(tmp_path / "vectors.hdf5") as file:
        assert set(file) == set(keys)


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("a\n\nb\n", {}, "`input_file` must not have blank lines, got one at line 2"),
        ("a\na\n", {"use_sentence_keys": True}, "`use_sentence_keys` needs sentences that occur once, got a repeated"),
        ("a\n", {"output_format": "mean"}, '`output_format` must be "all", "top" or "average", got \'mean\''),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(text: str, options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        embedder().embed_file(io.StringIO(text), tmp_path / "vectors.hdf5", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_bilm_of_words_is_refused(tmp_path: Path) -> None:
    options = json.loads(Path(OPTIONS).read_text("utf-8"))
    del options["char_cnn"]
    (tmp_path / "options.json").write_text(json.dumps({**options, "n_tokens_vocab": 5}), encoding="utf-8")
    with pytest.raises(InputError, match="must have a `char_cnn`, got a biLM of word input"):
        ElmoEmbedder(tmp_path / "options.json", WEIGHTS)


# The next tests use the old module in the ways that flair, SeqVec, bio_embeddings and SymPatternWSI do.


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the old module be importable for one test. The default files are those of `fixtures/`."""
    local = {compat.DEFAULT_OPTIONS_FILE: Path(OPTIONS), compat.DEFAULT_WEIGHT_FILE: Path(WEIGHTS)}
    monkeypatch.setattr(compat, "local_path", lambda name: local.get(name, Path(name)))
    names = ["allennlp", "allennlp.commands", "allennlp.commands.elmo"]
    before = {name: sys.modules.get(name) for name in names}
    compat.install()
    yield
    if before["allennlp.commands"] is not None:
        del before["allennlp.commands"].elmo  # type: ignore[attr-defined]
    for name, module in before.items():
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module


class FlairEmbeddings:
    """Like flair's `ELMoEmbeddings`: the layers of each token concatenated; moved to another device when it is unpickled."""

    def __init__(self) -> None:
        import allennlp.commands.elmo

        old = allennlp.commands.elmo
        self.ee = old.ElmoEmbedder(old.DEFAULT_OPTIONS_FILE, weight_file=old.DEFAULT_WEIGHT_FILE, cuda_device=-1)
        self.embedding_length = len(self.embed([["hello"]])[0][0])

    def embed(self, sentences: list[list[str]]) -> list[list[torch.Tensor]]:
        arrays = self.ee.embed_batch(sentences)
        return [
            [
                torch.cat([torch.FloatTensor(array[layer, token, :]) for layer in range(3)])
                for token in range(len(words))
            ]
            for words, array in zip(sentences, arrays)
        ]

    def __setstate__(self, state: dict) -> None:
        self.__dict__ = state
        self.ee.cuda_device = -1
        self.ee.elmo_bilm.to(device=torch.device("cpu"))
        self.ee.elmo_bilm._elmo_lstm._states = tuple(
            [tensor.to(torch.device("cpu")) for tensor in self.ee.elmo_bilm._elmo_lstm._states]
        )


@pytest.mark.usefixtures("installed")
def test_as_flair_uses_it() -> None:
    embeddings = FlairEmbeddings()
    assert embeddings.embedding_length == 30
    copy = pickle.loads(pickle.dumps(embeddings))
    for words, copied_words in zip(embeddings.embed(SENTENCES), copy.embed(SENTENCES), strict=True):
        torch.testing.assert_close(words, copied_words, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("installed")
def test_flair_itself_embeds_with_it() -> None:
    legacy = pytest.importorskip("flair.embeddings.legacy", reason="flair is not installed")
    from flair.data import Sentence

    ours, sentence = embedder(), Sentence(SENTENCES[0])
    legacy.ELMoEmbeddings(options_file=OPTIONS, weight_file=WEIGHTS).embed(sentence)
    # flair embeds "hello" first, to learn the width.
    ours.embed_sentence(["hello"])
    expected = np.concatenate(ours.embed_sentence(SENTENCES[0]), axis=1)
    np.testing.assert_allclose([token.embedding.numpy() for token in sentence], expected, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("installed")
def test_as_seqvec_uses_it() -> None:
    from allennlp.commands.elmo import ElmoEmbedder

    proteins = {"A": "MKTAYIAKQR", "B": "GDTV"}
    model = ElmoEmbedder(weight_file=WEIGHTS, options_file=OPTIONS, cuda_device=-1)
    with torch.no_grad():
        embeddings = model.embed_batch([list(protein) for protein in proteins.values()])
        single = model.embed_sentence(list("GDTV"))
    for protein, embedding in zip(proteins.values(), embeddings, strict=True):
        assert embedding.sum(axis=0).shape == (len(protein), 10)
        assert np.concatenate(embedding, axis=1).shape == (len(protein), 30)
        assert torch.tensor(embedding).sum(dim=0).mean(dim=0).shape == (10,)
    assert single.shape == (3, 4, 10)


@pytest.mark.usefixtures("installed")
def test_as_bio_embeddings_uses_it() -> None:
    from allennlp.commands.elmo import ElmoEmbedder

    class SeqVecEmbedder:
        _fallback: ElmoEmbedder | None = None  # type: ignore[valid-type]

        def __init__(self, weights_file: Path, options_file: Path) -> None:
            self._model = ElmoEmbedder(weight_file=weights_file, options_file=options_file, cuda_device=-1)

        def embed_batch(self, batch: list[str]) -> Iterator[np.ndarray]:
            yield from self._model.embed_batch([list(sequence) for sequence in batch])

    model = SeqVecEmbedder(Path(WEIGHTS), Path(OPTIONS))
    # The first batch is empty where the first sequence is as long as a batch may be.
    assert list(model.embed_batch([])) == []
    reduced = [array.sum(0).mean(0) for array in model.embed_batch(["MKTAYIAKQR", "G"])]
    assert [vector.shape for vector in reduced] == [(10,), (10,)]


@pytest.mark.usefixtures("installed")
def test_as_sympatternwsi_uses_it() -> None:
    from allennlp.commands.elmo import ElmoEmbedder

    elmo = ElmoEmbedder(cuda_device=-1)
    for _ in range(3):
        list(elmo.embed_sentences([SENTENCES[0]] * 4, 4))
    warm = [state.clone() for state in elmo.elmo_bilm._elmo_lstm._states]
    assert [state.shape[:2] for state in warm] == [(2, 4), (2, 4)]
    embedded = list(elmo.embed_sentences([["the", "mill", "and"], ["and", "turns", "."]], 4))
    softmax_w = np.ones((5, 20), dtype=np.float32)
    for state in (embedded[0][2, -1, :5], embedded[1][2, 0, 5:]):
        assert np.matmul(state, softmax_w).shape == (20,)
    # A smaller batch leaves the state of the rows that it does not have.
    for state, before in zip(elmo.elmo_bilm._elmo_lstm._states, warm, strict=True):
        assert torch.equal(state[:, 2:], before[:, 2:]) and not torch.equal(state[:, :2], before[:, :2])


@pytest.mark.usefixtures("installed")
def test_the_old_module_is_this_one() -> None:
    import allennlp.commands.elmo

    assert allennlp.commands.elmo is compat
    assert compat.DEFAULT_OPTIONS_FILE.endswith("/elmo_2x4096_512_2048cnn_2xhighway_options.json")
    assert compat.DEFAULT_WEIGHT_FILE.endswith("/elmo_2x4096_512_2048cnn_2xhighway_weights.hdf5")


@pytest.mark.slow
def test_the_old_module_needs_no_allennlp() -> None:
    code = (
        "import sys; sys.modules['allennlp'] = None\n"
        "from allennlp_elmo_plus import compat; compat.install()\n"
        "import allennlp.commands.elmo\n"
        "from allennlp.commands.elmo import ElmoEmbedder, DEFAULT_OPTIONS_FILE, DEFAULT_WEIGHT_FILE\n"
        f"print(allennlp.commands.elmo.ElmoEmbedder({OPTIONS!r}, {WEIGHTS!r}).embed_sentence(['the']).shape)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "(3, 1, 10)\n"), result.stderr


def test_an_allennlp_that_cannot_be_imported_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "allennlp").mkdir()
    (tmp_path / "allennlp" / "__init__.py").write_text("import a_library_that_is_missing\n", encoding="utf-8")
    for name in [name for name in sys.modules if name.partition(".")[0] == "allennlp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("allennlp") is not None
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_missing"):
        compat.install()
