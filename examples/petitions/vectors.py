"""Embed the words of petitions once, so that classifiers over a frozen biLM train in seconds."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from examples.petitions.text import PARTS
from examples.shared.files import read_json_lines

# In the order of a file of vectors, the first one is zeros: AllenNLP's classifiers take position 0 for padding.
_PADDING = 1

POOLINGS = ("mean", "idf_mean", "maximum")
POOLED = (*POOLINGS, "matches")

# Of "matches": the width of the kernel, on vectors of length 1, and the number of random features of each layer.
KERNEL_WIDTH = 0.45
NUM_FEATURES = 512


def write_vectors(directory: Path, max_words: int) -> float:
    """Embed the first `max_words` words of each petition in `directory`; return the processor time in minutes.

    Writes three kinds of files to `directory / "vectors"`: `vectors.npy`, float16 of shape (words + 1, layers, K); `idf.npy`, the inverse
    document frequency of each word; and for each part of the petitions a file with `label`, `words` and `first`, the position of its
    first word in the two arrays.

    Args:
        directory: with the parts of `text.write_words` and the biLM in `bilm/model.tar.gz`.
        max_words: the words of a petition beyond this number are left out.
    """
    start = time.process_time()
    output = directory / "vectors"
    finished = output / "processor_minutes"
    if finished.exists():
        return float(finished.read_text("utf-8"))
    output.mkdir(exist_ok=True)
    embedder = ElmoEmbedder.from_pretrained(directory / "bilm" / "model.tar.gz")
    petitions = {part: list(_read(directory / f"{part}.jsonl", max_words)) for part in PARTS}
    sentences = [sentence for part in PARTS for _, petition in petitions[part] for sentence in petition]
    num_words = sum(map(len, sentences))
    shape = (_PADDING + num_words, embedder.num_layers, embedder.output_size)
    with atomic_path(output / "vectors.npy") as path:
        vectors = np.lib.format.open_memmap(path, "w+", np.float16, shape)
        position = _PADDING
        for layers in embedder.embed_sentences(sentences):
            vectors[position : position + layers.shape[1]] = layers.swapaxes(0, 1)
            position += layers.shape[1]
        vectors.flush()
    position = _PADDING
    for part in PARTS:
        with atomic_path(output / f"{part}.jsonl") as path, open(path, "w", encoding="utf-8") as file:
            for label, petition in petitions[part]:
                words = sum(petition, [])
                file.write(json.dumps({"label": label, "words": words, "first": position}, ensure_ascii=False) + "\n")
                position += len(words)
    with atomic_path(output / "idf.npy") as path:
        np.save(path, _inverse_document_frequencies(petitions))
    minutes = (time.process_time() - start) / 60
    finished.write_text(f"{minutes}\n", encoding="utf-8")
    return minutes


def write_pooled(directory: Path, pooling: str) -> None:
    """Write the files of `write_vectors` with a single vector per petition and layer, to `directory / f"pooled_{pooling}"`.

    Each component of a vector is standardized: over the petitions to train on its mean is 0 and its variance 1.

    Args:
        directory: with the vectors of `write_vectors`.
        pooling: over the words of a petition: "mean", "maximum", the mean weighted by IDF, "idf_mean", or "matches", the same mean of
            random features of the words: the product of two petitions then sums over the pairs of their words how similar they are.
    """
    output = directory / f"pooled_{pooling}"
    if (output / "vectors.npy").exists():
        return
    output.mkdir(exist_ok=True)
    vectors = np.load(directory / "vectors" / "vectors.npy", mmap_mode="r")
    idf = np.load(directory / "vectors" / "idf.npy")
    features = random_features(vectors) if pooling == "matches" else np.float32
    rows = [np.zeros_like(features(vectors[0]))] * _PADDING
    num_to_train_on = 0
    for part in PARTS:
        with atomic_path(output / f"{part}.jsonl") as path, path.open("w", encoding="utf-8") as file:
            for record in read_json_lines(directory / "vectors" / f"{part}.jsonl"):
                positions = slice(record["first"], record["first"] + len(record["words"]))
                words = features(vectors[positions])
                pooled = {"label": record["label"], "words": [pooling], "first": len(rows)}
                file.write(json.dumps(pooled, ensure_ascii=False) + "\n")
                if pooling == "maximum":
                    rows.append(words.max(axis=0))
                else:
                    rows.append(np.average(words, axis=0, weights=None if pooling == "mean" else idf[positions]))
        if part == "train":
            num_to_train_on = len(rows) - _PADDING
    values = np.stack(rows)
    to_train_on = values[_PADDING : _PADDING + num_to_train_on]
    values[_PADDING:] = (values[_PADDING:] - to_train_on.mean(axis=0)) / (to_train_on.std(axis=0) + 1e-6)
    with atomic_path(output / "vectors.npy") as path:
        np.save(path, values.astype(np.float32))


def random_features(vectors: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of words whose products are about those of a Gaussian kernel of the standardized vectors (Rahimi and Recht 2007).

    The kernel is near 1 for words with like vectors, and near 0 for all others. Products of the vectors themselves are not: those of the
    many unlike words hide those of the few words that carry the topic.
    """
    sample = vectors[_PADDING : _PADDING + 100_000].astype(np.float32)
    mean, deviation = sample.mean(axis=0), sample.std(axis=0)
    generator = np.random.default_rng(1)
    frequencies = generator.standard_normal((vectors.shape[2], NUM_FEATURES)).astype(np.float32) / KERNEL_WIDTH
    phases = generator.uniform(0, 2 * np.pi, NUM_FEATURES).astype(np.float32)

    def features(words: np.ndarray) -> np.ndarray:
        standardized = (words.astype(np.float32) - mean) / deviation
        return np.cos(standardized / np.linalg.norm(standardized, axis=-1, keepdims=True) @ frequencies + phases)

    return features


def _inverse_document_frequencies(petitions: dict[str, list[Any]]) -> np.ndarray:
    """Return log(N / n) for each word of all parts, where n of the N petitions to train on have the word, divided by their mean."""
    documents = {part: [sum(sentences, []) for _, sentences in petitions[part]] for part in PARTS}
    counts = Counter(word for words in documents["train"] for word in set(words))
    num_documents = len(documents["train"])
    values = [
        np.log((1 + num_documents) / (1 + counts[word]))
        for part in PARTS
        for words in documents[part]
        for word in words
    ]
    return np.concatenate([np.zeros(_PADDING), values / np.mean(values)]).astype(np.float32)


def _read(path: Path, max_words: int) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield the label and the sentences of each petition, at most `max_words` words in all."""
    for record in read_json_lines(path):
        sentences, num_words = [], 0
        for sentence in record["sentences"]:
            words = sentence.split()[: max_words - num_words]
            num_words += len(words)
            if words:
                sentences.append(words)
        yield record["label"], sentences
