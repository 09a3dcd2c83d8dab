"""The vectors that are compared: from the same text, by different models. All are frozen and computed once per sentence."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
import torch

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.errors import InputError
from examples.shared.flair_models import embed_with_flair, train_flair
from examples.shared.stored_vectors import Sentence

# No vectors but those that the tagger learns.
NONE = "none"
VECTORS = (NONE, "bilm", "untrained", "fasttext", "word2vec", "flair")

_GENSIM = {"vector_size": 256, "min_count": 4, "workers": 1, "seed": 1}
_NUM_NGRAM_VECTORS = 500_000


class Inputs(NamedTuple):
    """The text of pretraining, the pretrained biLM, and where other models are kept."""

    text: Path
    heldout: Path
    model: Optional[Path]
    work: Path
    flair_minutes: float  # processor time of both directions together


def pretrain(kind: str, inputs: Inputs) -> dict[str, float]:
    """Train the model of the vectors `kind`, unless it is there already, and return the figures of its training.

    A biLM is never trained here. Its time is the one that `examples.english` left beside its archive, if any.

    Raises:
        InputError: `kind` is the biLM and `inputs` has none.
    """
    if kind == "bilm":
        finished = _model(inputs).with_name("processor_minutes")
        return {"minutes": float(finished.read_text("utf-8"))} if finished.exists() else {}
    if kind == "flair":
        return {"minutes": train_flair(inputs.text, inputs.heldout, inputs.work / "flair", inputs.flair_minutes)}
    if kind in ("fasttext", "word2vec"):
        return {"minutes": _train_gensim(kind, inputs)}
    return {}


def embed(kind: str, inputs: Inputs, sentences: Sequence[Sentence]) -> Optional[dict[Sentence, np.ndarray]]:
    """Return the vectors of each sentence, an array (words, layers, numbers) of 16 bits; None for the kind "none".

    Raises:
        InputError: `kind` is a biLM, trained or not, and `inputs` has none.
    """
    if kind == NONE:
        return None
    vectors: Iterable[np.ndarray]
    if kind in ("bilm", "untrained"):
        embedder = ElmoEmbedder.from_pretrained(_model(inputs))
        if kind == "untrained":
            torch.manual_seed(1)
            embedder.encoder.token_encoder.reset_parameters()
            embedder.encoder.bilm.reset_parameters()
        vectors = embedder.embed_sentences(sentences)
    elif kind == "flair":
        vectors = embed_with_flair(inputs.work / "flair", sentences)
    else:
        vectors = _embed_with_gensim(inputs.work / f"{kind}.vectors", sentences)
    return {sentence: array.swapaxes(0, 1).astype(np.float16) for sentence, array in zip(sentences, vectors)}


def _model(inputs: Inputs) -> Path:
    if inputs.model is None:
        raise InputError("`--models` must name a pretrained biLM for the vectors bilm and untrained, got none")
    return inputs.model


class _Text:
    """The sentences of a text; gensim reads them once per epoch."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[list[str]]:
        return iter_sentences(self._path)


def _train_gensim(kind: str, inputs: Inputs) -> float:
    # The program starts without gensim, for those who compare other vectors only.
    from gensim.models import FastText, Word2Vec

    finished = inputs.work / f"{kind}.minutes"
    if not finished.exists():
        start = time.process_time()
        options = {**_GENSIM, "sentences": _Text(inputs.text)}
        model = FastText(**options, bucket=_NUM_NGRAM_VECTORS) if kind == "fasttext" else Word2Vec(**options)
        minutes = (time.process_time() - start) / 60
        inputs.work.mkdir(parents=True, exist_ok=True)
        model.wv.save(str(inputs.work / f"{kind}.vectors"))
        finished.write_text(f"{minutes}\n", encoding="utf-8")
    return float(finished.read_text("utf-8"))


def _embed_with_gensim(path: Path, sentences: Sequence[Sentence]) -> Iterator[np.ndarray]:
    from gensim.models import KeyedVectors

    vectors = KeyedVectors.load(str(path))
    # For words that word2vec does not know; fastText has vectors of all words, from their n-grams.
    zeros = np.zeros(vectors.vector_size, dtype=np.float32)
    for sentence in sentences:
        yield np.stack([vectors[word] if word in vectors else zeros for word in sentence])[None]
