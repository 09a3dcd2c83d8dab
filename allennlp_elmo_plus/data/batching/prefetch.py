"""Making items in a background thread, some ahead of their use."""

import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Prefetcher(Generic[Item]):
    """Iterates over `source` in a thread of its own, at most `depth` items ahead. Each iteration starts a thread.

    An exception that `source` raises is raised to the consumer after the items made before it. The thread is gone when
    the iterator is exhausted, closed or dropped.

    Raises `ValueError` when `depth` is below 1.
    """

    def __init__(self, source: Iterable[Item], depth: int) -> None:
        if depth < 1:
            raise ValueError(f"`depth` must be at least 1, got {depth}")
        self._source = source
        self._depth = depth

    def __iter__(self) -> Iterator[Item]:
        # (items of length 1 | nothing at the end, exception)
        results: SimpleQueue[tuple[tuple[Item, ...], BaseException | None]] = SimpleQueue()
        # The producer waits after making an item, not before: the first needs no place.
        free_places = threading.Semaphore(self._depth - 1)
        stopped = threading.Event()

        def produce() -> None:
            try:
                for item in self._source:
                    results.put(((item,), None))
                    free_places.acquire()
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
                free_places.release()
                yield items[0]
        finally:
            stopped.set()
            free_places.release()
            thread.join()
