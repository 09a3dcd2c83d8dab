"""Classifiers without AllenNLP: TF-IDF and vectors of a biLM with scikit-learn's logistic regression, and fastText."""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from examples.petitions.scores import measure, named
from examples.petitions.text import PARTS

# Set once, without a search.
TFIDF = {
    "spaces": {"analyzer": "char_wb", "ngram_range": (1, 3)},
    "morphemes": {"analyzer": "word", "ngram_range": (1, 1), "token_pattern": r"\S+"},
}
# Values of `C`, the inverse of the penalty, from which the part "dev" chooses.
TFIDF_STRENGTHS = (3.0, 30.0, 100.0)
VECTOR_STRENGTHS = (0.0003, 0.001, 0.003)
# The factor of the standardized vectors beside TF-IDF, set once: their squares then add up to about a third of those of TF-IDF.
VECTOR_SCALE = 0.02
FASTTEXT = {"lr": 0.5, "epoch": 25, "dim": 50, "minn": 2, "maxn": 4, "bucket": 500_000, "thread": 1, "verbose": 0}


class Texts(NamedTuple):
    """The texts of petitions, words separated by spaces, and their labels."""

    texts: list[str]
    labels: list[str]


def read_texts(directory: Path) -> dict[str, Texts]:
    """Return the complete petitions of each part in `directory`."""
    parts = {}
    for part in PARTS:
        records = [json.loads(line) for line in (directory / f"{part}.jsonl").read_text("utf-8").splitlines()]
        parts[part] = Texts(
            [" ".join(record["sentences"]) for record in records], [record["label"] for record in records]
        )
    return parts


def pooled_vectors(directory: Path, pooling: str) -> dict[str, np.ndarray]:
    """Return a vector of all layers for each petition, by parts, from the files of `vectors.write_pooled`."""
    vectors = np.load(directory / f"pooled_{pooling}" / "vectors.npy")
    features = {}
    for part in PARTS:
        lines = (directory / f"pooled_{pooling}" / f"{part}.jsonl").read_text("utf-8").splitlines()
        features[part] = vectors[[json.loads(line)["first"] for line in lines]].reshape(len(lines), -1)
    return features


def classify_tfidf(directory: Path, words: str, poolings: Sequence[str] = ()) -> dict[str, float]:
    """Return the figures of logistic regression over TF-IDF of the texts, and over the pooled vectors of each of `poolings`.

    Args:
        directory: the parts of the petitions, with the files of `vectors.write_pooled`.
        words: "spaces" or "morphemes", the words of these petitions: they decide the options of TF-IDF, `TFIDF`.
        poolings: as for `pooled_vectors`.
    """
    start = time.process_time()
    parts = read_texts(directory)
    vectorizer = TfidfVectorizer(**TFIDF[words], min_df=2, sublinear_tf=True)
    vectorizer.fit(parts["train"].texts)
    texts = {part: vectorizer.transform(parts[part].texts) for part in PARTS}
    products = {part: (texts[part] @ texts["train"].T).toarray() for part in PARTS}
    for pooling in poolings:
        pooled = pooled_vectors(directory, pooling)
        for part in PARTS:
            products[part] += VECTOR_SCALE**2 * pooled[part] @ pooled["train"].T
    return _classify(coordinates(products), parts, TFIDF_STRENGTHS, start)


def coordinates(products: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return coordinates with the same `products`, for texts with far more features than texts to train on.

    A logistic regression with an L2 penalty sees features only by their products with the texts to train on. So over the coordinates
    it gives the same probabilities as over the features, in a small part of the time.

    Args:
        products: for each part, the products of its texts with those of "train", of shape (texts, texts of "train").
    """
    values, vectors = np.linalg.eigh(products["train"])
    large = values > 1e-9 * values[-1]
    return {part: rows @ (vectors[:, large] / np.sqrt(values[large])) for part, rows in products.items()}


def classify_vectors(directory: Path, pooling: str) -> dict[str, float]:
    """Return the figures of logistic regression over the pooled vectors of all layers, see `pooled_vectors`."""
    start = time.process_time()
    return _classify(pooled_vectors(directory, pooling), read_texts(directory), VECTOR_STRENGTHS, start)


def classify_fasttext(directory: Path, seed: int) -> dict[str, float]:
    """Return the figures of fastText's classifier, which learns vectors of words and of n-grams of characters."""
    import fasttext

    start = time.process_time()
    parts = read_texts(directory)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        for text, label in zip(*parts["train"], strict=True):
            file.write(f"__label__{label.replace(' ', '_')} {text}\n")
        file.flush()
        model = fasttext.train_supervised(file.name, **FASTTEXT, seed=seed)
    figures = {}
    for part in ("dev", "test"):
        # `model.predict` fails with NumPy 2.
        predicted = [model.f.predict(f"{text}\n", 1, 0.0, "strict")[0][1] for text in parts[part].texts]
        figures |= named(
            part, measure([f"__label__{label.replace(' ', '_')}" for label in parts[part].labels], predicted)
        )
    return {**figures, "minutes": (time.process_time() - start) / 60}


def _classify(
    features: dict[str, np.ndarray], parts: dict[str, Texts], strengths: Sequence[float], start: float
) -> dict[str, float]:
    models = [
        LogisticRegression(C=strength, max_iter=200).fit(features["train"], parts["train"].labels)
        for strength in strengths
    ]
    best = max(models, key=lambda model: model.score(features["dev"], parts["dev"].labels))
    figures = {"strength": best.C}
    for part in ("dev", "test"):
        figures |= named(part, measure(parts[part].labels, best.predict(features[part])))
    return {**figures, "minutes": (time.process_time() - start) / 60}
