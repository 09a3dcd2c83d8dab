"""Compare the usages of a word in two corpora."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.neighbors import TokenInContext
from allennlp_elmo_plus.inference.top_words import ProbableWord
from allennlp_elmo_plus.usages.measures import (
    average_pairwise_distance,
    jensen_shannon_divergence,
    prototype_distance,
    unit_vectors,
)
from allennlp_elmo_plus.usages.occurrences import Sample
from allennlp_elmo_plus.usages.usage_model import UsageModel

CLUSTERINGS = ("kmeans", "affinity")
NUM_EXAMPLES = 3
_NUM_SHOWN_SUBSTITUTES = 8


class Cluster(NamedTuple):
    """Usages of a word that are similar."""

    counts: tuple[int, int]  # the usages of each corpus
    substitutes: list[str]  # the most probable first
    examples: tuple[list[TokenInContext], list[TokenInContext]]  # of each corpus, the nearest to the cluster's centre


class Difference(NamedTuple):
    """How different the usages of a word in the two corpora are; see `measures`."""

    apd: float
    prt: float
    jsd: float
    clusters: list[Cluster]  # the largest first


class WordComparison(NamedTuple):
    """The result for one word."""

    word: str
    num_found: tuple[int, int]  # occurrences in each corpus
    num_used: tuple[int, int]  # the occurrences that were compared, a sample
    difference: Optional[Difference]  # None where the word is missing in a corpus


class UsageComparer:
    """Compare words in two corpora.

    Args:
        model: the biLM.
        clustering: "kmeans" or "affinity"; see `_clusters.cluster`.
        seed: the seed of the clustering.

    Raises:
        InputError: `clustering` is another word, or scikit-learn is not installed.
    """

    def __init__(self, model: UsageModel, clustering: str, seed: int) -> None:
        self._model = model
        self._clustering = clustering
        self._seed = seed
        self._cluster = _import_cluster()
        if clustering not in CLUSTERINGS:
            raise InputError(f"`clustering` must be one of {', '.join(CLUSTERINGS)}, got {clustering!r}")

    def compare(self, word: str, first: Sample, second: Sample) -> WordComparison:
        """Return how different the occurrences of `word` in the two corpora are."""
        samples = (first, second)
        num_found, num_used = (first.num_found, second.num_found), (len(first.tokens), len(second.tokens))
        difference = self._difference(samples) if all(num_used) else None
        return WordComparison(word, num_found, num_used, difference)

    def _difference(self, samples: tuple[Sample, Sample]) -> Difference:
        tokens = [token for sample in samples for token in sample.tokens]
        vectors = self._model.vectors(tokens)
        is_second = np.arange(len(tokens)) >= len(samples[0].tokens)
        units = unit_vectors(vectors)
        labels = self._cluster(units, self._clustering, self._seed)
        substitutes = self._model.substitutes(tokens)
        clusters = []
        for number in range(labels.max() + 1):
            members = np.flatnonzero(labels == number)
            # The nearest to the centre first.
            nearest = members[np.argsort(-(units[members] @ units[members].mean(0)), kind="stable")]
            firsts, seconds = nearest[~is_second[nearest]], nearest[is_second[nearest]]
            clusters.append(
                Cluster(
                    (len(firsts), len(seconds)),
                    _most_probable(substitutes[index] for index in members),
                    (_examples(tokens, firsts), _examples(tokens, seconds)),
                )
            )
        parts = vectors[~is_second], vectors[is_second]
        counts = list(zip(*(cluster.counts for cluster in clusters)))
        return Difference(
            average_pairwise_distance(*parts), prototype_distance(*parts), jensen_shannon_divergence(*counts), clusters
        )


def _import_cluster() -> Callable[[np.ndarray, str, int], np.ndarray]:
    try:
        from allennlp_elmo_plus.usages._clusters import cluster
    except ImportError:
        raise InputError(
            "clusters of usages need scikit-learn, which is not installed: pip install 'allennlp_elmo_plus[sklearn]'"
        ) from None
    return cluster


def _most_probable(substitutes: Iterable[Sequence[ProbableWord]]) -> list[str]:
    """Return the words with the highest sum of probabilities over the usages of a cluster; punctuation marks are left out."""
    totals: Counter[str] = Counter()
    for words in substitutes:
        for word, probability in words:
            if any(map(str.isalnum, word)):
                totals[word] += probability  # type: ignore[assignment]
    return [word for word, _ in totals.most_common(_NUM_SHOWN_SUBSTITUTES)]


def _examples(tokens: Sequence[TokenInContext], indices: Iterable[Any]) -> list[TokenInContext]:
    """Return the first `NUM_EXAMPLES` of the tokens at `indices` whose sentences differ."""
    examples: dict[tuple[str, ...], TokenInContext] = {}
    for index in indices:
        examples.setdefault(tokens[index].sentence, tokens[index])
    return list(examples.values())[:NUM_EXAMPLES]
