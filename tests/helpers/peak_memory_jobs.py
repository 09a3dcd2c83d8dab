"""Jobs for a child process whose memory is measured: in a module of their own, so that the child imports little."""

from benchmarks.peak_memory import Meter


def allocate(meter: Meter, num_bytes: int) -> int:
    return len(b"x" * num_bytes)


def allocate_after_start(meter: Meter, num_bytes: int) -> None:
    before = b"x" * (2 * num_bytes)
    del before
    kept = b"x" * num_bytes
    meter.start()
    again = b"x" * num_bytes
    assert len(kept) == len(again)
