"""
Every parser of a file that somebody else may have made, on bytes of any kind: it reads them, or raises `InputError` with one line.
Never another exception, never much memory. The seeds are whole files, which Hypothesis damages. `fuzz/` does the same for longer.
"""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.parsers import PARSERS, read_or_refuse

MOST_BYTES = 16 * 2**20

PIECES = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from(
        [b"\0" * 8, b"\xff" * 8, b"\x7f" * 4, b"\x80", b"\n", b"\t", b'"', b"{", b"[", b"1e999", b"-1", b"9" * 12]
    ),
)


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[float, int, bytes]]:
    """Places, as a share of the length, how many bytes are taken away there, and what is put there instead."""
    place, taken = st.floats(0, 1), st.sampled_from([0, 1, 2, 4, 8, 512, 2**20])
    return draw(st.lists(st.tuples(place, taken, PIECES | st.just(b"")), min_size=1, max_size=4))


def damaged(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for share, taken, piece in changes:
        place = int(share * len(content))
        content = content[:place] + piece + content[place + taken :]
    return content


def is_read(name: str, path: Path) -> bool:
    tracemalloc.start()
    try:
        read = read_or_refuse(PARSERS[name], path)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
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
