"""Vectors of a text file, written to HDF5 or npz: the layout, refusals, and runs that are interrupted and resumed."""

import copy
import gzip
import json
from contextlib import contextmanager

import numpy as np
import pytest

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.embed_file import EmbedSettings, embed_file
from allennlp_elmo_plus.inference.predictions import encoder_of
from allennlp_elmo_plus.modules.layer_mix import LayerMix
from allennlp_elmo_plus.storage import resumable_hdf5 as vector_file
from tests.helpers.small_encoders import options_of, random_encoder
from tests.helpers.small_models import VOCABULARY, small_model
from tests.unit.inference.embedding_runs import (
    LINES,
    TEXT,
    Interrupted,
    interrupt_after,
    no_progress,
    output_files,
    read_arrays,
)


@pytest.mark.parametrize("layers", ["all", "top", "average", LayerMix((0.1, 0.2, 0.7))])
def test_the_layout_is_that_of_allennlps_command(embedder, text, tmp_path, layers):
    output = tmp_path / "vectors.hdf5"
    survey = embed_file(embedder, text, output, EmbedSettings(layers), no_progress)
    assert survey[:3] == (7, 22, 1)
    arrays = read_arrays(output)
    sentence_to_index = arrays.pop("sentence_to_index")
    assert sentence_to_index.shape == (1,)
    # Indices are strings; a repeated sentence has the index of its last line.
    indices = {line.strip(): str(number) for number, line in enumerate(LINES)}
    assert json.loads(sentence_to_index[0]) == indices and indices["the river rises ."] == "4"
    assert sorted(arrays) == [str(number) for number in range(7)]
    for number, line in enumerate(LINES):
        expected = embedder.embed_sentence(line.split(), layers)
        assert arrays[str(number)].dtype == np.float32
        np.testing.assert_allclose(arrays[str(number)], expected, rtol=0, atol=1e-6)
    assert arrays["2"].shape == ((3, 0, 10) if layers == "all" else (0, 10))
    assert output_files(tmp_path) == {"vectors.hdf5"}


def test_sentences_can_be_omitted_or_used_as_keys(embedder, text, tmp_path):
    embed_file(embedder, text, tmp_path / "forgotten.hdf5", EmbedSettings(forget_sentences=True), no_progress)
    assert sorted(read_arrays(tmp_path / "forgotten.hdf5")) == [str(number) for number in range(7)]
    distinct = [line for line in LINES[:4] if line]
    text.write_text("\n".join(distinct), encoding="utf-8")
    embed_file(embedder, text, tmp_path / "keys.hdf5", EmbedSettings(use_sentence_keys=True), no_progress)
    arrays = read_arrays(tmp_path / "keys.hdf5")
    assert set(arrays) == {line.strip() for line in distinct}
    np.testing.assert_allclose(
        arrays["and\tthe mill  turns"], embedder.embed_sentence("and the mill turns".split()), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    "line, reason",
    [
        ("", "is blank"),
        (".", "is `.`, which HDF5 reads as the file itself"),
        ("and / or", "contains `/`, at which HDF5 splits names"),
        ("a  ", "repeats an earlier one"),
    ],
)
def test_a_line_that_cannot_be_a_key_is_refused_before_anything_is_written(embedder, text, tmp_path, line, reason):
    text.write_text(f"a\nb\n{line}\nc\n")
    with pytest.raises(InputError, match=f"text.txt, line 3: the sentence {reason}, so it cannot be a key; use line"):
        embed_file(embedder, text, tmp_path / "keys.hdf5", EmbedSettings(use_sentence_keys=True), no_progress)
    assert output_files(tmp_path) == set()


@pytest.mark.parametrize("use_sentence_keys", [False, True])
def test_an_npz_holds_the_arrays_of_the_hdf5_file(embedder, text, tmp_path, use_sentence_keys):
    text.write_text("the mill\nturns : again\n나비\n", encoding="utf-8")
    settings = EmbedSettings(use_sentence_keys=use_sentence_keys)
    embed_file(embedder, text, tmp_path / "a.hdf5", settings, no_progress)
    embed_file(embedder, text, tmp_path / "a.npz", settings._replace(output_format="npz"), no_progress)
    expected = read_arrays(tmp_path / "a.hdf5")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == sorted(expected)
        if not use_sentence_keys:
            assert arrays["sentence_to_index"].tolist() == [expected.pop("sentence_to_index")[0].decode()]
        for key, array in expected.items():
            assert arrays[key].dtype == np.float32
            np.testing.assert_array_equal(arrays[key], array)
    assert output_files(tmp_path) == {"a.hdf5", "a.npz"}


def test_a_compressed_text_has_the_vectors_of_the_plain_text(embedder, text, tmp_path):
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(TEXT.encode("utf-8")))
    for name in ("text.txt", "text.txt.gz"):
        embed_file(embedder, tmp_path / name, tmp_path / f"{name}.hdf5", EmbedSettings(), no_progress)
    plain, compressed = read_arrays(tmp_path / "text.txt.hdf5"), read_arrays(tmp_path / "text.txt.gz.hdf5")
    assert plain.keys() == compressed.keys()
    assert all(np.array_equal(plain[key], compressed[key]) for key in plain)


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"text": "the mill"}\n', "text.txt: must be plain text, .*, got JSON lines"),
        (b"the mill\nmill \xff\n", "text.txt, line 2: byte 0xff is not UTF-8$"),
        (b"\n\n", "text.txt: there is not one word in this text"),
        (b"the\0mill\n", "text.txt, line 1: NUL byte"),
    ],
)
def test_a_text_that_is_refused_leaves_no_file(embedder, text, tmp_path, content, message):
    text.write_bytes(content)
    with pytest.raises(InputError, match=message):
        embed_file(embedder, text, tmp_path / "vectors.hdf5", EmbedSettings(), no_progress)
    assert output_files(tmp_path) == set()


def test_an_existing_output_file_and_a_missing_directory_are_refused(embedder, text, tmp_path):
    (tmp_path / "old.hdf5").write_bytes(b"old")
    with pytest.raises(InputError, match="cannot write `.*old.hdf5`: it is there already; name another file"):
        embed_file(embedder, text, tmp_path / "old.hdf5", EmbedSettings(), no_progress)
    assert (tmp_path / "old.hdf5").read_bytes() == b"old"
    with pytest.raises(InputError, match="cannot write `.*new.hdf5`: there is no directory `.*absent`"):
        embed_file(embedder, text, tmp_path / "absent" / "new.hdf5", EmbedSettings(), no_progress)
    assert output_files(tmp_path) == {"old.hdf5"}


@pytest.fixture
def record_every_sentence(monkeypatch):
    """Record progress after each sentence, instead of every ten seconds."""
    monkeypatch.setattr(vector_file, "_SECONDS_BETWEEN_RECORDS", 0.0)


def interrupted_run(embedder, text, output):
    with pytest.raises(Interrupted):
        embed_file(embedder, text, output, EmbedSettings(), interrupt_after(num_sentences=3))
    assert output_files(output.parent) == {f"{output.name}.part", f"{output.name}.part.journal"}


def test_a_resumed_run_continues_after_the_last_recorded_sentence(embedder, text, tmp_path, record_every_sentence):
    embed_file(embedder, text, tmp_path / "uninterrupted.hdf5", EmbedSettings(), no_progress)
    expected = read_arrays(tmp_path / "uninterrupted.hdf5")
    (tmp_path / "uninterrupted.hdf5").unlink()
    output = tmp_path / "vectors.hdf5"
    interrupted_run(embedder, text, output)
    totals, embedded = [], []

    @contextmanager
    def progress(what, unit, total, done):
        totals.append((total, done))
        yield embedded.append

    embed_file(embedder, text, output, EmbedSettings(), progress)
    # Three lines, of 4, 4 and 0 words, were written before.
    assert totals == [(22, 8)] and embedded == [2, 4, 1, 7]
    assert output_files(tmp_path) == {"vectors.hdf5"}
    arrays = read_arrays(output)
    assert arrays.keys() == expected.keys()
    for key, array in expected.items():
        if key == "sentence_to_index":
            assert arrays[key].tolist() == array.tolist()
        else:
            np.testing.assert_allclose(arrays[key], array, rtol=0, atol=1e-6)


def test_ctrl_c_records_the_written_sentences(embedder, text, tmp_path):
    @contextmanager
    def press_ctrl_c(what, unit, total, done):
        def advance(steps):
            raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        embed_file(embedder, text, tmp_path / "vectors.hdf5", EmbedSettings(), press_ctrl_c)
    records = (tmp_path / "vectors.hdf5.part.journal").read_text().splitlines()
    assert json.loads(records[-1]) == {"num_arrays": 1, "num_words": 4}


def test_an_interrupted_run_is_not_resumed_with_another_bilm_text_or_setting(
    embedder, text, tmp_path, record_every_sentence
):
    output = tmp_path / "vectors.hdf5"
    interrupted_run(embedder, text, output)
    before = {name: (tmp_path / name).read_bytes() for name in output_files(tmp_path)}
    other_bilm = ElmoEmbedder(random_encoder(options_of("usual"), seed=9))
    for embedder_of_resume, settings, difference in (
        (other_bilm, EmbedSettings(), "biLM"),
        (ElmoEmbedder(copy.deepcopy(embedder.encoder), precision="bf16"), EmbedSettings(), "biLM"),
        (embedder, EmbedSettings("top"), "choice of layers"),
        (embedder, EmbedSettings(forget_sentences=True), "use of `sentence_to_index`"),
    ):
        with pytest.raises(
            InputError, match=f"`.*vectors.hdf5.part` was begun with another {difference}, .*, got .*: continue"
        ):
            embed_file(embedder_of_resume, text, output, settings, no_progress)
    text.write_text(TEXT.replace("mill", "hill"), encoding="utf-8")
    with pytest.raises(InputError, match="was begun with another text"):
        embed_file(embedder, text, output, EmbedSettings(), no_progress)
    assert {name: (tmp_path / name).read_bytes() for name in output_files(tmp_path)} == before


# One word less, one word more, the same number of words.
@pytest.mark.parametrize("old, new", [("the river", "river"), ("the river", "the river and"), ("mill", "hill")])
def test_a_text_that_changes_while_it_is_read_is_refused(embedder, text, tmp_path, old, new):
    @contextmanager
    def change_text(what, unit, total, done):
        text.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
        yield lambda steps: None

    with pytest.raises(InputError, match="text.txt: changed while it was read; its vectors are removed; start again$"):
        embed_file(embedder, text, tmp_path / "vectors.hdf5", EmbedSettings(), change_text)
    # No file may hold vectors of either text.
    assert output_files(tmp_path) == set()


def test_a_bilm_of_word_input_is_another_one_with_another_vocabulary() -> None:
    model = small_model(5, char_cnn=None)
    encoder = encoder_of(model, VOCABULARY, None)
    words = [*VOCABULARY[:-2], *VOCABULARY[:-3:-1]]
    digests = [ElmoEmbedder(encoder, vocabulary).digest() for vocabulary in (VOCABULARY, list(VOCABULARY), words)]
    assert digests[0] == digests[1] != digests[2]


def test_a_key_that_an_npz_cannot_hold_is_refused_before_anything_is_written(embedder, tmp_path) -> None:
    long = " ".join(["word"] * 14_000)
    (tmp_path / "text.txt").write_text(f"a b\n{long}\n", encoding="utf-8")
    settings = EmbedSettings("top", output_format="npz", use_sentence_keys=True)
    with pytest.raises(InputError, match="text.txt, line 2: a key in an .npz has at most 65,531 bytes, got more$"):
        embed_file(embedder, tmp_path / "text.txt", tmp_path / "vectors.npz", settings, no_progress)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".journal")] == ["text.txt"]
