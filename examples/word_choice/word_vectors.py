"""Score candidates with word2vec (Mikolov et al. 2013): one vector per word, and one per word as a context of others."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from allennlp_elmo_plus.data.text.text_files import iter_sentences
from examples.word_choice.combine import COMBINATIONS, combine
from examples.word_choice.data import Item

WINDOW = 5
# Skip-gram with negative sampling, of the width of the biLM's vectors.
_OPTIONS = {"sg": 1, "vector_size": 256, "window": WINDOW, "min_count": 2, "epochs": 5}

WAYS = ("target", *COMBINATIONS)


class WordVectors:
    """Skip-gram vectors with negative sampling, trained on the lower-cased sentences of `text` by gensim.

    The vectors of contexts are the output vectors of the training, which Melamud et al. 2015 compare with the candidates.
    """

    def __init__(self, text: Path, seed: int) -> None:
        from gensim.models import Word2Vec

        with TemporaryDirectory() as directory:
            lower_cased = Path(directory) / "text.txt"
            with lower_cased.open("w", encoding="utf-8") as file:
                for sentence in iter_sentences(text):
                    file.write(" ".join(sentence).lower() + "\n")
            # One worker: several give other vectors in each run.
            model = Word2Vec(corpus_file=str(lower_cased), seed=seed, workers=1, **_OPTIONS)
        self._ids = model.wv.key_to_index
        self._vectors, self._contexts = (
            matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
            for matrix in (model.wv.vectors, model.syn1neg)
        )

    def scores(self, item: Item, way: str) -> np.ndarray:
        """Return the scores (n,) of the candidates of `item`; candidates without a vector are last.

        Args:
            item: the item.
            way: "target": cosine of the target and the candidate; or a way of `combine`, with the words that are at most `WINDOW`
                words away as contexts.
        """
        is_known = np.array([word in self._ids for word in item.candidates])
        candidates = self._rows(self._vectors, item.candidates)
        near_target = self._rows(self._vectors, [item.word]) @ candidates.T
        words = item.sentence[max(0, item.position - WINDOW) : item.position]
        words += item.sentence[item.position + 1 : item.position + 1 + WINDOW]
        near_contexts = self._rows(self._contexts, words) @ candidates.T
        scores = np.full(len(item.candidates), -np.inf)
        target = near_target.sum(0)
        scores[is_known] = target if way == "target" else combine(target, near_contexts, way)
        return scores

    def _rows(self, matrix: np.ndarray, words: Sequence[str]) -> np.ndarray:
        """Return the rows of the `words` that have one."""
        return matrix[[self._ids[word] for word in words if word in self._ids]]
