"""Several threads that use one embedder, or one cache of word vectors, at the same time."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.modules.word_cache import WordVectorCache
from tests.helpers.saved_bilm import VOCABULARY
from tests.helpers.small_encoders import options_of, random_encoder


def words_of(*numbers: int) -> np.ndarray:
    return np.array([[number, 0] for number in numbers], dtype=np.int16)


def doubled(words: np.ndarray) -> Tensor:
    return torch.from_numpy(words[:, :1].astype(np.float64) * 2)


class Paused:
    """Calls `function`. The first call, which a thread makes, waits before that until `resume` is called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.has_started, self._is_resumed = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        if not self.has_started.is_set():
            self.has_started.set()
            assert self._is_resumed.wait(30)
        return self.function(*arguments)

    def run_in_thread(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Start `function` in a thread and wait for its pause. Return `resume`, which ends the pause and returns the result."""
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(function()))
        thread.start()
        assert self.has_started.wait(30)

        def resume() -> Any:
            self._is_resumed.set()
            thread.join()
            return results[0]

        return resume


def test_vectors_looked_up_before_the_cache_is_cleared_are_not_mixed_with_later_ones() -> None:
    cache = WordVectorCache()
    cache.vectors(words_of(1, 2), doubled)
    compute = Paused(doubled)
    resume = compute.run_in_thread(lambda: cache.vectors(words_of(1, 2, 3), compute))
    cache.clear()
    assert torch.equal(cache.vectors(words_of(7, 8, 9), doubled), doubled(words_of(7, 8, 9)))
    assert torch.equal(resume(), doubled(words_of(1, 2, 3)))
    for words in (words_of(1, 2, 3), words_of(9, 8, 7)):
        assert torch.equal(cache.vectors(words, doubled), doubled(words))


def test_a_word_that_two_threads_compute_is_stored_once() -> None:
    cache = WordVectorCache(max_words=3)
    compute = Paused(doubled)
    resume = compute.run_in_thread(lambda: cache.vectors(words_of(1, 2), compute))
    assert torch.equal(cache.vectors(words_of(2, 3), doubled), doubled(words_of(2, 3)))
    assert torch.equal(resume(), doubled(words_of(1, 2)))
    assert len(cache) == 3

    def refuse(words: np.ndarray) -> Tensor:
        raise AssertionError(f"{words} are in the cache")

    assert torch.equal(cache.vectors(words_of(3, 1, 2), refuse), doubled(words_of(3, 1, 2)))


def test_vectors_of_earlier_weights_are_not_stored_with_those_of_later_weights() -> None:
    cache = WordVectorCache()
    compute = Paused(doubled)
    resume = compute.run_in_thread(lambda: cache.vectors(words_of(1), compute, weights="earlier"))
    cache.vectors(words_of(2), lambda words: -doubled(words), weights="later")
    assert torch.equal(resume(), doubled(words_of(1)))
    later = cache.vectors(words_of(1, 2), lambda words: -doubled(words), weights="later")
    assert torch.equal(later, -doubled(words_of(1, 2)))


def test_a_copy_of_a_cache_is_empty_and_works() -> None:
    cache = WordVectorCache(max_words=5)
    cache.vectors(words_of(1), doubled)
    for other in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert (len(other), other.max_words) == (0, 5)
        assert torch.equal(other.vectors(words_of(1, 2), doubled), doubled(words_of(1, 2)))


def test_four_threads_get_the_vectors_of_one_thread_and_the_cache_stays_correct() -> None:
    rng = np.random.default_rng(0)
    batches = [[[f"w{n}" for n in rng.integers(0, 1500, rng.integers(1, 12))] for _ in range(8)] for _ in range(60)]
    reference, shared = (ElmoEmbedder(random_encoder(options_of("usual"))) for _ in range(2))
    expected = [reference.embed_batch(batch) for batch in batches]
    by_threads: list[Any] = [None] * len(batches)

    def embed(first: int) -> None:
        for index in range(first, len(batches), 4):
            by_threads[index] = shared.embed_batch(batches[index])

    threads = [threading.Thread(target=embed, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results in (by_threads, [shared.embed_batch(batch) for batch in batches]):
        for batch, expected_batch in zip(results, expected, strict=True):
            for vectors, expected_vectors in zip(batch, expected_batch, strict=True):
                np.testing.assert_allclose(vectors, expected_vectors, rtol=0, atol=1e-4)


@pytest.mark.parametrize("part", ["bilm", "token_encoder"])
def test_no_thread_waits_for_the_lstm_or_the_characters_of_another(part: str) -> None:
    embedder = ElmoEmbedder(random_encoder(options_of("usual")))
    expected = embedder.embed_sentence(VOCABULARY)
    module = getattr(embedder.encoder, part)
    module.forward = paused = Paused(module.forward)
    resume = paused.run_in_thread(lambda: embedder.embed_sentence(["unheard"]))
    # If the other thread held a lock, this call would never return.
    np.testing.assert_allclose(embedder.embed_sentence(VOCABULARY), expected, rtol=0, atol=1e-4)
    assert resume().shape == (3, 1, 10)
