"""Feed damaged files and random bytes to every parser of untrusted files.

A parser reads them, or raises `InputError` with a message of one line: never another exception, never with much memory. Hypothesis
damages valid files, the seeds. `fuzz/` does the same for longer.
"""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.parsers import PARSERS, read_or_refuse

MAX_BYTES = 16 * 2**20

PIECES = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from(
        [b"\0" * 8, b"\xff" * 8, b"\x7f" * 4, b"\x80", b"\n", b"\t", b'"', b"{", b"[", b"1e999", b"-1", b"9" * 12]
    ),
)


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[float, int, bytes]]:
    """Changes: a position as a share of the length, the number of bytes removed there, and the bytes inserted there."""
    position, num_removed = st.floats(0, 1), st.sampled_from([0, 1, 2, 4, 8, 512, 2**20])
    return draw(st.lists(st.tuples(position, num_removed, PIECES | st.just(b"")), min_size=1, max_size=4))


def damaged(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for share, num_removed, inserted in changes:
        position = int(share * len(content))
        content = content[:position] + inserted + content[position + num_removed :]
    return content


def is_read(name: str, path: Path) -> bool:
    tracemalloc.start()
    try:
        read = read_or_refuse(PARSERS[name], path)
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
        return read
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory, name):
    directory = tmp_path_factory.mktemp("any")
    seeds = PARSERS[name].seeds(directory)
    path = directory / f"file{PARSERS[name].suffix}"
    for seed in seeds:
        path.write_bytes(seed)
        assert is_read(name, path)

    contents = st.builds(damaged, st.sampled_from(seeds), damages()) | st.binary(max_size=200)

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(contents)
    def check(content: bytes) -> None:
        path.write_bytes(content)
        is_read(name, path)

    check()
