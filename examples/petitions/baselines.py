"""Classifiers without AllenNLP: scikit-learn's regressions over TF-IDF and vectors of a biLM, and fastText."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut

from allennlp_elmo_plus.errors import InputError
from examples.petitions.scores import measure, named
from examples.petitions.text import PARTS
from examples.shared.files import read_json_lines

# Set once, without a search.
TFIDF = {
    "spaces": {"analyzer": "char_wb", "ngram_range": (1, 3)},
    "morphemes": {"analyzer": "word", "ngram_range": (1, 1), "token_pattern": r"\S+"},
}
# The classifiers, each with the strengths of its penalty to choose from.
REGRESSIONS = {
    "ridge": (RidgeClassifier(), {"alpha": [0.1, 0.3, 1.0]}),
    "logistic": (LogisticRegression(max_iter=200), {"C": [10.0, 30.0, 100.0]}),
}
# The weights, to choose from, of a second block of features.
WEIGHTS = (0.3, 1.0)
FASTTEXT = {"lr": 0.5, "epoch": 25, "dim": 50, "minn": 2, "maxn": 4, "bucket": 500_000, "thread": 1, "verbose": 0}


class Texts(NamedTuple):
    """The texts of petitions, words separated by spaces, their labels and their months."""

    texts: list[str]
    labels: list[str]
    months: list[str]


def read_texts(directory: Path) -> dict[str, Texts]:
    """Return the complete petitions of each part in `directory`."""
    parts = {}
    for part in PARTS:
        records = read_json_lines(directory / f"{part}.jsonl")
        # fastText would end a text at its first line end.
        texts = [" ".join(" ".join(record["sentences"]).split()) for record in records]
        parts[part] = Texts(texts, *([record[name] for record in records] for name in ("label", "month")))
    return parts


def classify_regression(directory: Path, words: str, regression: str, blocks: Sequence[str]) -> dict[str, float]:
    """Return the figures of a regression over `blocks` of features.

    Petitions have a vector of length 1 in each block, so the penalty treats the blocks alike, except for the weight of the second one.
    The penalty and this weight are those with the highest accuracy in months that were not trained on: each month to train on is held
    out in turn.

    Args:
        directory: the parts of the petitions, with the files of `vectors.write_pooled`.
        words: "spaces" or "morphemes", the words of these petitions: they decide the options of TF-IDF, `TFIDF`.
        regression: a name in `REGRESSIONS`.
        blocks: one or two, "TF-IDF" or a pooling of `vectors.write_pooled`.
    """
    start = time.process_time()
    parts = read_texts(directory)
    products = [
        _tfidf_products(parts, words) if block == "TF-IDF" else _vector_products(directory, block) for block in blocks
    ]
    classifier, penalties = REGRESSIONS[regression]
    searches = []
    for weight in WEIGHTS if len(blocks) > 1 else (0.0,):
        features = coordinates({part: products[0][part] + weight * products[-1][part] for part in PARTS})
        search = GridSearchCV(classifier, penalties, cv=LeaveOneGroupOut(), error_score="raise")
        search.fit(features["train"], parts["train"].labels, groups=parts["train"].months)
        searches.append((search, weight, features))
    search, weight, features = max(searches, key=lambda candidate: candidate[0].best_score_)
    figures = {**search.best_params_, "weight": weight, "month_accuracy": 100 * search.best_score_}
    for part in ("dev", "test"):
        figures |= named(part, measure(parts[part].labels, search.predict(features[part])))
    return {**figures, "minutes": (time.process_time() - start) / 60}


def pooled_vectors(directory: Path, pooling: str) -> dict[str, np.ndarray]:
    """Return a vector of all layers for each petition, by parts, from the files of `vectors.write_pooled`."""
    vectors = np.load(directory / f"pooled_{pooling}" / "vectors.npy")
    features = {}
    for part in PARTS:
        records = read_json_lines(directory / f"pooled_{pooling}" / f"{part}.jsonl")
        features[part] = vectors[[record["first"] for record in records]].reshape(len(records), -1)
    return features


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


def classify_fasttext(directory: Path, seed: int) -> dict[str, float]:
    """Return the figures of fastText's classifier, which learns vectors of words and of n-grams of characters.

    Raises:
        InputError: fastText is not installed.
    """
    try:
        import fasttext
    except ImportError:
        raise InputError(
            "the part fasttext needs the package fasttext-wheel: install it, or name other --parts"
        ) from None

    start = time.process_time()
    parts = read_texts(directory)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        for text, label in zip(parts["train"].texts, parts["train"].labels, strict=True):
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


def _tfidf_products(parts: dict[str, Texts], words: str) -> dict[str, np.ndarray]:
    vectorizer = TfidfVectorizer(**TFIDF[words], min_df=2, sublinear_tf=True)
    vectorizer.fit(parts["train"].texts)
    texts = {part: vectorizer.transform(parts[part].texts) for part in PARTS}
    return {part: (texts[part] @ texts["train"].T).toarray() for part in PARTS}


def _vector_products(directory: Path, pooling: str) -> dict[str, np.ndarray]:
    vectors = {
        part: (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float64)
        for part, rows in pooled_vectors(directory, pooling).items()
    }
    return {part: vectors[part] @ vectors["train"].T for part in PARTS}
