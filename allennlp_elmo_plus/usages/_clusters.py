"""Cluster the usages of a word with scikit-learn."""

import warnings
from typing import Any

import numpy as np
from sklearn.cluster import AffinityPropagation, KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score

MAX_CLUSTERS = 8
# Fewer usages form one cluster.
MIN_USAGES = 5
# Values between 0.5 and 1 are possible; with large ones the iteration does not oscillate.
_DAMPING = 0.9
_MAX_ITERATIONS = 1000


def cluster(vectors: np.ndarray, method: str, seed: int) -> np.ndarray:
    """Return the number of the cluster of each usage, (n,) int64; cluster 0 is the largest.

    Args:
        vectors: (n, K), unit vectors, so that near means a high cosine.
        method: "kmeans": k-means with the number of clusters, from 2 to `MAX_CLUSTERS`, whose silhouette score is the highest; or
            "affinity": affinity propagation, which finds the number itself. If it does not converge, there is one cluster.
        seed: the seed of the random numbers.
    """
    if len(vectors) < MIN_USAGES or len(np.unique(vectors, axis=0)) < MIN_USAGES:
        return np.zeros(len(vectors), dtype=np.int64)
    labels = _k_means(vectors, seed) if method == "kmeans" else _affinity_propagation(vectors, seed)
    _, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    ranks = np.empty(len(sizes), dtype=np.int64)
    ranks[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return ranks[labels]


def _k_means(vectors: np.ndarray, seed: int) -> np.ndarray:
    num_distinct = len(np.unique(vectors, axis=0))
    candidates = [
        KMeans(num_clusters, n_init=10, random_state=seed).fit_predict(vectors)
        for num_clusters in range(2, min(MAX_CLUSTERS, num_distinct - 1) + 1)
    ]
    return max(candidates, key=lambda labels: silhouette_score(vectors, labels))


def _affinity_propagation(vectors: np.ndarray, seed: int) -> Any:
    method = AffinityPropagation(damping=_DAMPING, max_iter=_MAX_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return method.fit_predict(vectors)
        except ConvergenceWarning:
            return np.zeros(len(vectors))
