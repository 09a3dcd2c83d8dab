"""Jobs for a child process whose memory is measured; a module of its own, so that the child imports little."""

from benchmarks.measurement.peak_memory import Meter


def allocate(meter: Meter, num_bytes: int) -> int:
    return len(b"x" * num_bytes)


def allocate_after_start(meter: Meter, num_bytes: int) -> None:
    larger = b"x" * (2 * num_bytes)
    del larger
    before_start = b"x" * num_bytes
    meter.start()
    after_start = b"x" * num_bytes
    # Both are in memory up to here.
    assert len(before_start) == len(after_start)
