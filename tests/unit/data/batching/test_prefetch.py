import threading

import pytest

from allennlp_elmo_plus.data.batching.prefetch import Prefetcher


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "bilm-prefetch"]


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_prefetching_changes_nothing(depth):
    prefetcher = Prefetcher(range(50), depth)
    assert list(prefetcher) == list(range(50))
    assert list(prefetcher) == list(range(50))
    assert prefetch_threads() == []


def test_an_exception_comes_after_the_items_before_it():
    def failing():
        yield 1
        yield 2
        raise RuntimeError("no more text")

    seen = []
    with pytest.raises(RuntimeError, match="no more text"):
        for item in Prefetcher(failing(), 5):
            seen.append(item)
    assert seen == [1, 2]
    assert prefetch_threads() == []


@pytest.mark.parametrize("taken", [1, 5])
def test_stopping_early_leaves_no_thread(taken):
    iterator = iter(Prefetcher(iter(int, 1), 2))
    for _ in range(taken):
        next(iterator)
    assert len(prefetch_threads()) == 1
    iterator.close()
    assert prefetch_threads() == []


def test_dropping_the_iterator_leaves_no_thread():
    for item in Prefetcher(iter(int, 1), 2):
        assert item == 0
        break
    assert prefetch_threads() == []


@pytest.mark.parametrize("depth", [1, 4])
def test_no_more_than_depth_items_are_made_ahead(depth):
    made, overtaken = [], threading.Event()

    def source():
        for number in range(20):
            made.append(number)
            if len(made) > depth + 1:
                overtaken.set()
            yield number

    iterator = iter(Prefetcher(source(), depth))
    assert next(iterator) == 0
    # One item was taken, so at most `depth` more may be made. Without a fault the wait ends after its timeout.
    assert not overtaken.wait(0.2)
    assert len(made) == depth + 1
    iterator.close()


def test_refuses_a_depth_below_one():
    with pytest.raises(ValueError, match="`depth` must be at least 1, got 0"):
        Prefetcher([], 0)
