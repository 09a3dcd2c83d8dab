"""Which windows of characters are the same, as one compiled loop over a hash table, where PyTorch's operations sort all of them."""

import numpy as np

from allennlp_elmo_plus.kernels.jit import jit

# Two to the 64th over the golden ratio, odd: spreads keys over a product's upper bits (Knuth 1998, section 6.4).
SPREAD = np.int64(0x9E3779B97F4A7C15 - (1 << 64))


@jit
def unique_ngrams(characters: np.ndarray, width: int, num_places: int, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct windows (W, width) in the order in which words hold them, and which of them each place holds, (places, U). Beyond
    the last of characters (U, C) there is `padding`, the highest of them; (padding + 1) ** width is below 2 ** 63.
    """
    num_words, num_columns = characters.shape
    num_windows = num_words * num_places
    size = 2
    while size < 2 * num_windows:
        size *= 2
    table = np.full(size, -1, np.int64)
    keys, first = np.empty(num_windows, np.int64), np.empty(num_windows, np.int64)
    rows = np.empty((num_places, num_words), np.int64)
    num_found = 0
    for word in range(num_words):
        for place in range(num_places):
            key = np.int64(0)
            for column in range(place, place + width):
                key = key * (padding + 1) + (characters[word, column] if column < num_columns else padding)
            slot = ((key * SPREAD) >> 20) & (size - 1)
            while table[slot] >= 0 and keys[table[slot]] != key:
                slot = (slot + 1) & (size - 1)
            if table[slot] < 0:
                table[slot], keys[num_found], first[num_found] = num_found, key, word * num_places + place
                num_found += 1
            rows[place, word] = table[slot]
    windows = np.empty((num_found, width), np.int64)
    for window in range(num_found):
        word, place = divmod(first[window], num_places)
        for column in range(place, place + width):
            windows[window, column - place] = characters[word, column] if column < num_columns else padding
    return windows, rows
