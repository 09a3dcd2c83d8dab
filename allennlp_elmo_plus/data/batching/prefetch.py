"""Produce items in a background thread, ahead of their use."""

import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from allennlp_elmo_plus.errors import check_at_least

Item = TypeVar("Item")


class Prefetcher(Generic[Item]):
    """Iterates over `source` in a separate thread, which each iteration starts.

    An exception of `source` is raised in the consumer's thread, after the items before it. The thread ends when the iterator is
    exhausted, closed or deleted.

    Args:
        depth: The maximum number of items ahead of the consumer, at least 1.
    """

    def __init__(self, source: Iterable[Item], depth: int) -> None:
        check_at_least(1, depth=depth)
        self._source = source
        self._depth = depth

    def __iter__(self) -> Iterator[Item]:
        # A tuple of one item, or of none at the end, and the exception that ended `source`.
        results: SimpleQueue[tuple[tuple[Item, ...], BaseException | None]] = SimpleQueue()
        # The producer waits after it made an item, so the first item needs no free slot.
        free_slots = threading.Semaphore(self._depth - 1)
        stopped = threading.Event()

        def produce() -> None:
            try:
                for item in self._source:
                    results.put(((item,), None))
                    free_slots.acquire()
                    if stopped.is_set():
                        return
                results.put(((), None))
            except BaseException as error:
                results.put(((), error))

        thread = threading.Thread(target=produce, name="bilm-prefetch", daemon=True)
        thread.start()
        try:
            while True:
                items, error = results.get()
                if error is not None:
                    raise error
                if not items:
                    return
                free_slots.release()
                yield items[0]
        finally:
            stopped.set()
            free_slots.release()
            thread.join()
