"""Distinct windows, and widths that share the threads."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from allennlp_elmo_plus.data.text.characters import PADDING_ID
from allennlp_elmo_plus.kernels.char_conv import conv_max_pool as char_maxima
from allennlp_elmo_plus.kernels.char_conv.conv_max_pool import unique_ngrams
from tests.unit.modules.test_char_cnn import (
    WORDS,
    assert_same,
    encode,
    make_cnn,
    plain,
)


@pytest.mark.parametrize("width", [1, 3, 7, 8])
@given(texts=st.lists(st.text(alphabet="ab", max_size=9), min_size=1, max_size=6))
def test_every_place_has_its_window_and_no_window_is_there_twice(width: int, texts: list[str]) -> None:
    characters = encode(texts, 10)
    windows, rows = unique_ngrams(characters, width, 8, torch.zeros(PADDING_ID, 1))
    assert len(set(map(tuple, windows.tolist()))) == len(windows) == rows.max() + 1
    padded = torch.nn.functional.pad(characters.long(), (0, 8), value=PADDING_ID)
    for place in range(8):
        assert torch.equal(windows[rows[place]], padded[:, place : place + width])


def test_widths_side_by_side_equal_the_plain_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """[7, 6] is 1.24 times the mean work of two threads."""
    cnn, characters = make_cnn(), encode(WORDS)
    seen: list[int] = []
    real = char_maxima._groups

    def groups(*given: Any) -> list[list[Any]]:
        found = real(*given)
        seen.append(len(found))
        return found

    monkeypatch.setattr(char_maxima, "_groups", groups)
    try:
        torch.set_num_threads(2)
        for bound, expected in ((1.3, 2), (1.2, 1)):
            monkeypatch.setattr(char_maxima, "MOST_UNEVEN", bound)
            assert_same(cnn, cnn(characters), plain(cnn, characters))
            assert set(seen) == {expected}
            seen.clear()
    finally:
        torch.set_num_threads(1)
