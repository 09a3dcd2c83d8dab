"""The word vectors that are compared, all of the same text: a biLM, the same untrained, fastText, word2vec, and flair's models."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from allennlp.common import Params

from allennlp_elmo_plus.storage.atomic_files import atomic_path
from examples.low_resource.language import Language
from examples.shared.commands import train
from examples.shared.flair_models import HIDDEN_SIZE, embed_with_flair, train_flair
from examples.shared.gensim_models import train_gensim
from examples.shared.stored_vectors import read_sentences, write_vectors

CONFIGS = Path(__file__).parent
VECTORS = ("bilm", "untrained", "fasttext", "word2vec", "bilm+fasttext", "flair")

# Little text is read more often, at most ten times. On 503,910 words of Wolof the held-out perplexity still falls then, from 79.2 after
# nine epochs to 76.0.
_WORDS_TO_READ = 8_000_000
_MAX_EPOCHS = 10
_MIN_EPOCHS = 2

# Of the vectors of gensim. Its other options have their defaults.
_WIDTH = 200
_MIN_GENSIM_EPOCHS = 5
_GENSIM = {"vector_size": _WIDTH, "min_count": 2, "sg": 1, "workers": 1, "seed": 1}


class Embedding(NamedTuple):
    """Word vectors in an AllenNLP config: token indexers, token embedders of the same names, and the width of a word's vectors."""

    indexers: dict[str, Any]
    embedders: dict[str, Any]
    width: int


class Vectors(NamedTuple):
    """Word vectors of a language, and the figures of their training."""

    embedding: Embedding
    figures: dict[str, float]


def make_vectors(kind: str, language: Language, work: Path, overrides: dict[str, Any]) -> Vectors:
    """Return the vectors `kind`, one of `VECTORS`. They are trained into the directory `work`, unless they lie there already.

    Args:
        overrides: options of the biLM's config, in place of those in `bilm.jsonnet`.
    """
    if "+" in kind:
        return _beside_each_other([make_vectors(part, language, work, overrides) for part in kind.split("+")])
    if kind in ("bilm", "untrained"):
        return _bilm(kind, language, work / "bilm", overrides)
    if kind == "flair":
        bilm = _bilm("bilm", language, work / "bilm", overrides)
        return _flair(language, work / "flair", bilm.figures["minutes"])
    return _gensim(kind, language, work / f"{kind}.txt")


def _beside_each_other(parts: Sequence[Vectors]) -> Vectors:
    """Return the vectors of all `parts`, concatenated for each word."""
    embeddings = [part.embedding for part in parts]
    indexers, embedders = (
        {name: value for embedding in embeddings for name, value in embedding[field].items()} for field in (0, 1)
    )
    width = sum(embedding.width for embedding in embeddings)
    return Vectors(Embedding(indexers, embedders, width), {"minutes": sum(part.figures["minutes"] for part in parts)})


def _num_epochs(language: Language) -> int:
    return max(_MIN_EPOCHS, min(_MAX_EPOCHS, round(_WORDS_TO_READ / language.num_words())))


def _bilm(kind: str, language: Language, directory: Path, overrides: dict[str, Any]) -> Vectors:
    data = {"train_data_path": str(language.text), "validation_data_path": str(language.heldout)}
    overrides = {**data, "trainer.num_epochs": _num_epochs(language), **overrides}
    options = Params.from_file(CONFIGS / "bilm.jsonnet", json.dumps(overrides)).as_dict()["model"]
    indexer = {
        "type": "bilm_characters",
        "max_characters_per_token": options["char_cnn"]["max_characters_per_token"],
    }
    width = 2 * options["lstm"]["projection_dim"]
    # The models of the tasks have a dropout of their own, the same for all vectors.
    embedder: dict[str, Any] = {"type": "bilm", "dropout": 0.0}
    if kind == "untrained":
        options = {name: value for name, value in options.items() if name not in ("type", "precision")}
        return Vectors(Embedding({"bilm": indexer}, {"bilm": {**embedder, "options": options}}, width), {})
    minutes = train(CONFIGS / "bilm.jsonnet", directory, overrides)
    metrics = json.loads((directory / "metrics.json").read_text("utf-8"))
    figures = {
        "words": language.num_words(),
        "epochs": metrics["best_epoch"] + 1,
        "perplexity": metrics["best_validation_perplexity"],
        "forward_perplexity": metrics["best_validation_forward_perplexity"],
        "backward_perplexity": metrics["best_validation_backward_perplexity"],
        "minutes": minutes,
    }
    embedder["archive_file"] = str(directory / "model.tar.gz")
    return Vectors(Embedding({"bilm": indexer}, {"bilm": embedder}, width), figures)


def _flair(language: Language, directory: Path, minutes: float) -> Vectors:
    """Return the vectors of flair's two models, which have the processor time `minutes` of the biLM."""
    path, minutes = directory / "vectors.npy", train_flair(language.text, language.heldout, directory, minutes)
    sentences = sorted(language.task_sentences())
    if not path.exists() or read_sentences(path) != sentences:
        write_vectors(path, sentences, (vectors[0] for vectors in embed_with_flair(directory, sentences)))
    width = 2 * HIDDEN_SIZE
    indexer, embedder = {"type": "stored_vectors", "path": str(path)}, {"type": "pass_through", "hidden_dim": width}
    return Vectors(Embedding({"flair": indexer}, {"flair": embedder}, width), {"minutes": minutes})


def _gensim(kind: str, language: Language, path: Path) -> Vectors:
    options = {**_GENSIM, "epochs": max(_MIN_GENSIM_EPOCHS, _num_epochs(language))}
    model = path.with_suffix(".vectors")
    minutes = train_gensim(kind, language.text, options, path.with_suffix(".minutes"), lambda wv: wv.save(str(model)))
    from gensim.models import KeyedVectors

    vectors = KeyedVectors.load(str(model))
    # Each time, as the data of tasks may be new. fastText has vectors for unknown words, too, from their n-grams.
    _write_vectors(vectors, (word for word in sorted(language.task_words()) if word in vectors), path)
    embedder = {"type": "embedding", "embedding_dim": _WIDTH, "pretrained_file": str(path), "trainable": False}
    embedding = Embedding({kind: {"type": "single_id"}}, {kind: embedder}, _WIDTH)
    return Vectors(embedding, {"minutes": minutes})


def _write_vectors(vectors: Any, words: Iterable[str], path: Path) -> None:
    with atomic_path(os.fspath(path)) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for word in words:
            file.write(f"{word} {' '.join(f'{value:.5f}' for value in vectors[word])}\n")
