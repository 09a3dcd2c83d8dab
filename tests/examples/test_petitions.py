"""The example petitions runs from a folder of small files to the figures of each classifier."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from examples.petitions.__main__ import MAX_WORDS, measure
from examples.petitions.baselines import pooled_vectors
from examples.petitions.components import Attention, Maximum, StoredVectors
from examples.petitions.text import read_parts, write_words
from examples.petitions.vectors import KERNEL_WIDTH, NUM_FEATURES, random_features
from examples.shared.figures import Figures
from tests.helpers.small_text import small_model_config

BILM = {
    "model": small_model_config(),
    "dataset_reader.token_indexers.characters.max_characters_per_token": 50,
    "vocabulary.min_count": 1,
    "trainer.num_epochs": 1,
}
CLASSIFIER = {"trainer.num_epochs": 1}


def write_petitions(path: Path, numbers: range) -> None:
    """Write a petition for each of `numbers`; its topic is said by one word."""
    with path.open("w", encoding="utf-8") as file:
        for number in numbers:
            topic = ("school", "river", "work")[number % 3]
            content = f"The {topic} needs help . We ask for it {number} times ."
            file.write(json.dumps({"category": topic, "title": f"Help the {topic}", "content": content}) + "\n")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "months"
    folder.mkdir()
    write_petitions(folder / "2019-05.jsonl", range(30))
    write_petitions(folder / "2019-06.jsonl", range(30, 60))
    # The first five are copies of petitions of the other month.
    write_petitions(folder / "2019-07.jsonl", range(55, 70))
    return folder


def test_the_last_file_is_for_the_test_and_no_text_of_it_is_elsewhere(folder):
    parts = read_parts(folder)
    assert len(parts["test"]) == 15 and len(parts["train"]) + len(parts["dev"]) == 55 and len(parts["dev"]) > 2
    assert parts["test"][0].paragraphs == ["Help the river", "The river needs help . We ask for it 55 times ."]
    assert {petition.month for petition in parts["train"]} == {"2019-05", "2019-06"}
    # A petition without words, one with a line end that only JSON takes for a character, and one of a topic that only this month has.
    with (folder / "2019-07.jsonl").open("a", encoding="utf-8") as file:
        for content in ("", "one\u2028two"):
            file.write(json.dumps({"category": "new", "title": "", "content": content}, ensure_ascii=False) + "\n")
    assert [petition.paragraphs for petition in read_parts(folder)["test"][15:]] == [["", "one\u2028two"]]
    (folder / "2019-05.jsonl").unlink()
    with pytest.raises(InputError, match="`folder` must have at least three files"):
        read_parts(folder)


def test_morphemes_are_words_and_a_sentence_ends_at_its_mark(tmp_path):
    pytest.importorskip("kiwipiepy")
    (tmp_path / "months").mkdir()
    for month in ("2019-05", "2019-06", "2019-07"):
        petition = {
            "category": "교육",
            "title": f"{month} 학교를 도와주세요",
            "content": "학교가 작습니다. 선생님이 없습니다.",
        }
        (tmp_path / "months" / f"{month}.jsonl").write_text(json.dumps(petition), encoding="utf-8")
    write_words(tmp_path / "months", "morphemes", tmp_path / "words")
    (line,) = (tmp_path / "words/test.jsonl").read_text("utf-8").splitlines()
    title, first, second = json.loads(line)["sentences"]
    assert "학교 를 돕" in title and first.startswith("학교 가 작") and first.endswith(" .") and second.endswith(" .")


@pytest.mark.slow
def test_each_part_of_the_example_adds_its_figures_once(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(MAX_WORDS, "spaces", 12)
    with (folder / "2019-07.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"category": "a new topic", "title": "Help", "content": "the mill"}) + "\n")
    figures = Figures(tmp_path / "figures.jsonl")
    arguments = (folder, tmp_path / "work", "spaces", ["baselines", "rnn", "finetuned"], [1])
    measure(*arguments, figures, BILM, CLASSIFIER)
    lines = figures.lines({})
    names = [line["name"] for line in lines if "name" in line]
    assert "fastText" not in names
    assert all(0 <= line["accuracy"] <= 100 and 0 <= line["dev_F1"] <= 100 for line in lines if "name" in line)
    vectors = np.load(tmp_path / "work/spaces/vectors/vectors.npy")
    first = json.loads((tmp_path / "work/spaces/vectors/train.jsonl").read_text("utf-8").splitlines()[0])
    assert len(first["words"]) == 12 and first["first"] == 1 and not vectors[0].any() and vectors[1].any()
    means = pooled_vectors(tmp_path / "work/spaces", "mean")
    np.testing.assert_allclose(means["train"].mean(axis=0), 0, atol=1e-3)
    words = np.stack([vectors[1:13], vectors[13:25]]).astype(np.float32).mean(axis=1).reshape(2, -1)
    # Standardizing keeps the sign of a difference.
    assert np.mean(np.sign(words[0] - words[1]) == np.sign(means["train"][0] - means["train"][1])) > 0.9
    measure(*arguments, figures, BILM, CLASSIFIER)
    assert figures.lines({}) == lines


def test_stored_vectors_are_mixed_as_the_name_of_the_mix_says(tmp_path):
    layers = np.arange(12, dtype=np.float16).reshape(2, 3, 2)
    np.save(tmp_path / "vectors.npy", layers)
    word = torch.tensor([[1]])
    for mix, expected in (
        ("layer_1", layers[1, 1]),
        ("average", layers[1].mean(axis=0)),
        ("gamma", layers[1].mean(axis=0)),
    ):
        embedder = StoredVectors(str(tmp_path / "vectors.npy"), mix, dropout=0.0)
        np.testing.assert_allclose(embedder(word)[0, 0].detach(), expected, rtol=1e-6)
        assert sum(parameter.requires_grad for parameter in embedder.parameters()) == {"gamma": 4}.get(mix, 0)
    two = StoredVectors(str(tmp_path / "vectors.npy"), "layer_0", num_mixes=2, dropout=0.0)
    assert two(word)[0, 0].tolist() == [6.0, 7.0, 6.0, 7.0] and two.get_output_dim() == 4


def test_products_of_random_features_are_about_those_of_a_gaussian_kernel():
    vectors = np.random.default_rng(0).normal(3, 5, (101, 2, 8))
    features = random_features(vectors)(vectors[1:])
    for layer in (0, 1):
        values = vectors[1:, layer]
        standardized = (values - values.mean(axis=0)) / values.std(axis=0)
        unit = standardized / np.linalg.norm(standardized, axis=1, keepdims=True)
        distances = ((unit[:, None] - unit) ** 2).sum(axis=-1)
        products = 2 * features[:, layer] @ features[:, layer].T / NUM_FEATURES
        np.testing.assert_allclose(products, np.exp(-distances / (2 * KERNEL_WIDTH**2)), atol=0.25)


def test_poolings_ignore_padding():
    torch.manual_seed(0)
    vectors, mask = torch.randn(1, 3, 4), torch.tensor([[True, True, False]])
    vectors[:, 2] = 10.0
    assert torch.equal(Maximum(4)(vectors, mask), vectors[:, :2].max(dim=1).values)
    attention = Attention(4, 2)
    torch.testing.assert_close(attention(vectors, mask), attention(vectors[:, :2], mask[:, :2]))
