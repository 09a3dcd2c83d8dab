"""`ElmoVectorizer`: a scikit-learn transformer from texts to pooled vectors of a biLM."""

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Union

import numpy as np

from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.inference.embedder import DEFAULT_BATCH_SIZE, ElmoEmbedder
from allennlp_elmo_plus.modules.layer_mix import ALL, AVERAGE, LayerOutput, check_layer_output

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
except ImportError:
    raise ImportError(
        "`ElmoVectorizer` needs scikit-learn, which is not installed: pip install 'allennlp_elmo_plus[sklearn]'"
    ) from None


class ElmoVectorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn each text into one vector: the mean of the ELMo vectors of its words.

        classifier = make_pipeline(ElmoVectorizer("runs/bilm/model.tar.gz"), LogisticRegression())
        classifier.fit(texts, labels)

    A text is a string, which is split at white space, or a list of words. It is read as one sentence. There is nothing to fit. A
    pickled vectorizer holds the name of the biLM, not its weights. Copies of a vectorizer in one process share the biLM.

    Args:
        model: the biLM, a path or a URL, as `ElmoEmbedder.from_pretrained` takes it.
        layers: the vectors of a word, as `ElmoEmbedder` takes them. With "all" the means of the layers are concatenated.
        device: the device to compute on, such as "cuda".
        batch_size: maximum tokens of a batch.
    """

    def __init__(
        self,
        model: str,
        layers: LayerOutput = AVERAGE,
        device: str = "cpu",
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        self.model = model
        self.layers = layers
        self.device = device
        self.batch_size = batch_size

    def fit(self, X: Iterable[Union[str, Sequence[str]]], y: Any = None) -> "ElmoVectorizer":
        """Return the vectorizer, unchanged. An InputError is raised where the biLM or an argument cannot be used."""
        check_layer_output(self.layers, self._embedder().num_layers)
        return self

    def transform(self, X: Iterable[Union[str, Sequence[str]]]) -> np.ndarray:
        """Return the vectors of the texts `X`, (number of texts, K); of a text without words, zeros.

        Raises:
            InputError: `X` is one text, a text is neither a string nor a list of words, or the biLM cannot be used.
        """
        if isinstance(X, str):
            raise InputError(f"`X` must be a list of texts, got the text {truncated_repr(X)}")
        sentences = [text.split() if isinstance(text, str) else text for text in X]
        return self._embedder().embed_pooled(sentences, self.layers).reshape(len(sentences), self._n_features_out)

    @property
    def _n_features_out(self) -> int:
        embedder = self._embedder()
        return embedder.output_size * (embedder.num_layers if self.layers == ALL else 1)

    def _embedder(self) -> ElmoEmbedder:
        path = local_path(self.model)
        return _load(os.path.abspath(path), path.stat().st_mtime_ns, self.device, self.batch_size)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        return tags


@lru_cache(maxsize=1)
def _load(path: str, mtime_ns: int, device: str, batch_size: int) -> ElmoEmbedder:
    """Return the embedder of `path`. A grid search copies the vectorizer for each fit; all copies get the same embedder.

    `mtime_ns` is the time of the last change of `path`: a biLM that was trained again is loaded again.
    """
    return ElmoEmbedder.from_pretrained(path, device=device, batch_size=batch_size)
