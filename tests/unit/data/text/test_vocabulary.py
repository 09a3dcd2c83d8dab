from collections import Counter
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.text import vocabulary
from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.data.text.vocabulary import look_up_words, order_by_frequency, read_vocabulary, write_vocabulary
from allennlp_elmo_plus.errors import InputError

SPECIALS = ["<S>", "</S>", "<UNK>"]

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4).filter(
    lambda word: word.split() == [word]
)
counts_of_words = st.dictionaries(st.one_of(words, st.sampled_from([*SPECIALS, "<unk>"])), st.integers(1, 5)).map(
    lambda counts: {"word": 5, **counts}
)


@settings(deadline=None)
@given(counts_of_words, st.integers(1, 5), st.one_of(st.none(), st.integers(4, 8)))
def test_the_order_is_specials_then_frequency_then_code_points(counts, min_count, max_size):
    order = order_by_frequency(counts, min_count, max_size)
    everything = order_by_frequency(counts, min_count)
    assert order == everything[:max_size]
    assert order[:3] == SPECIALS
    assert len(set(everything)) == len(everything)
    frequent = {word for word, count in counts.items() if count >= min_count} - {*SPECIALS, "<unk>"}
    assert set(everything[3:]) == frequent
    keys = [(-counts[word], [ord(character) for character in word]) for word in everything[3:]]
    assert keys == sorted(keys)


def test_wikitext_gives_the_entries_of_a_direct_count(shared_data):
    path = shared_data / "wikitext-2" / "train.txt"
    order = order_by_frequency(Counter(chain.from_iterable(iter_sentences(path))), min_count=2)
    assert len(order) == 9494
    assert order[3:7] == ["the", ",", ".", "of"]
    with open(path, encoding="utf-8", newline="\n") as file:
        often = {word for word, count in Counter(file.read().split()).items() if count >= 2}
    assert set(order) == often - {"<unk>"} | set(SPECIALS)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"min_count": 0}, "^`min_count` must be at least 1, got 0$"),
        ({"max_size": 3}, "^`max_size` must be at least 4, as it counts <S>, </S>, <UNK>, got 3$"),
        ({"min_count": 3}, r"^no word occurs at least 3 times \(`min_count`\), so the vocabulary would be empty$"),
    ],
)
def test_options_that_leave_no_word_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        order_by_frequency({"a": 2, "<S>": 9, "<unk>": 9}, **options)


@settings(max_examples=30, deadline=None)
@given(st.lists(words, unique=True).map(lambda entries: SPECIALS + [word for word in entries if word not in SPECIALS]))
def test_a_vocabulary_reads_as_it_was_written(tmp_path_factory, entries):
    path = tmp_path_factory.getbasetemp() / "vocab.txt"
    write_vocabulary(path, entries)
    assert read_vocabulary(path) == entries


def test_ids_are_line_numbers_and_white_space_is_dropped(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("<S>\r\n</S>\r\n the\t\r\n<UNK>\r\nx\u00a0\r\nx".encode())
    assert read_vocabulary(tmp_path / "vocab.txt") == ["<S>", "</S>", "the", "<UNK>", "x\u00a0", "x"]


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"\xef\xbb\xbf<S>\n</S>\n<UNK>\nthe\n")
    assert read_vocabulary(tmp_path / "vocab.txt") == [*SPECIALS, "the"]


@pytest.mark.parametrize(
    "data, message",
    [
        (b"<S>\n</S>\nthe\n", "^{path}: the vocabulary lacks <UNK>$"),
        (b"", "^{path}: the vocabulary lacks <S>, </S>, <UNK>$"),
        (b"<S>\n</S>\n<UNK>\na\nb\na\n", "^{path}, line 6: 'a' is on line 4 already$"),
        (b"<S>\n</S>\n<UNK>\n\na\n", "^{path}, line 4: the line is empty, a vocabulary has one word on each line$"),
        (b"<S>\n</S>\n<UNK>\n\n", "^{path}, line 4: the line is empty"),
        (b"<S>\n</S>\n<UNK>\nthe\t12\n", r"^{path}, line 4: a vocabulary has one word on each line, got 'the\\t12'$"),
        (b"<S>\n</S>\n<UNK>\n\xff\n", "^{path}, line 4: byte 0xff is not UTF-8"),
        (b"<S>\n</S>\n<UNK>\n\0\n", "^{path}, line 4: NUL byte"),
        (b"<S>\n</S>\n<UNK>\na\rb\n", r"^{path}, line 4: a vocabulary has one word on each line, got 'a\\rb'$"),
        (b"<S>\n</S>\n<UNK>\n" + b"x" * 999 + b"\n" + b"x" * 999, "^{path}, line 5: 'x{{56}}... is on line 4 already$"),
    ],
)
def test_a_bad_vocabulary_file_is_refused(tmp_path, data, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message.format(path=path)):
        read_vocabulary(path)


def test_an_endless_file_is_refused(monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_VOCABULARY_BYTES", 2**20)
    with pytest.raises(InputError, match="^/dev/zero: a vocabulary must be at most 1,048,576 bytes, got more$"):
        read_vocabulary("/dev/zero")


def test_a_missing_vocabulary_file_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=f"^{tmp_path}/no.txt: the vocabulary cannot be read .No such file or directory.$"
    ):
        read_vocabulary(tmp_path / "no.txt")


def test_a_word_without_an_id_gets_that_of_unk():
    ids = {"<S>": 0, "</S>": 1, "<UNK>": 2, "mill": 3}
    assert look_up_words(["mill", "rain", "<S>"], ids) == [3, 2, 0]
