"""The vectors that are compared: from the same text, by different models. All are frozen and computed once per sentence."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
import torch

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.errors import InputError
from examples.shared.flair_models import embed_with_flair, train_flair
from examples.shared.gensim_models import train_gensim
from examples.shared.stored_vectors import Sentence

# No vectors but those that the tagger learns.
NONE = "none"
VECTORS = (NONE, "bilm", "untrained", "fasttext", "word2vec", "flair")

_GENSIM = {"vector_size": 256, "min_count": 4, "workers": 1, "seed": 1}


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
        path = inputs.work / f"{kind}.vectors"
        finished = path.with_suffix(".minutes")
        return {"minutes": train_gensim(kind, inputs.text, _GENSIM, finished, lambda wv: wv.save(str(path)))}
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


def _embed_with_gensim(path: Path, sentences: Sequence[Sentence]) -> Iterator[np.ndarray]:
    from gensim.models import KeyedVectors

    vectors = KeyedVectors.load(str(path))
    # For words that word2vec does not know; fastText has vectors of all words, from their n-grams.
    zeros = np.zeros(vectors.vector_size, dtype=np.float32)
    for sentence in sentences:
        yield np.stack([vectors[word] if word in vectors else zeros for word in sentence])[None]
