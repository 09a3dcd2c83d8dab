import logging

from hypothesis import given
from hypothesis import strategies as st

from allennlp_elmo_plus.data.corpus.encoded_corpus import encode_to_temporary
from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.data.text.truncation import truncated_words


@given(st.dictionaries(st.text(min_size=1, max_size=12), st.integers(1, 9), max_size=8), st.integers(5, 20))
def test_a_word_is_truncated_if_a_wider_encoding_spells_more_of_it(counts, max_characters):
    def is_whole(word):
        wide, narrow = (encode_words([word], width)[0] for width in (60, max_characters))
        return (wide < 260).sum() == (narrow < 260).sum()

    truncated = {word for word in counts if not is_whole(word)}
    result = truncated_words(counts, max_characters, num_examples=100)
    assert set(result.examples) == truncated and result.num_types == len(truncated)
    assert result.num_words == sum(counts[word] for word in truncated)
    if counts:
        assert result.share == result.num_words / sum(counts.values())
        assert result.type_share == len(truncated) / len(counts)
    assert result.max_bytes == max_characters - 2


def test_scripts_of_three_and_four_bytes_per_character_are_truncated_sooner():
    words = {"k" * 16: 1, "가" * 16: 1, "k" * 48: 1, "가" * 17: 3, "न" * 16 + "े": 2, "🙂" * 12: 1, "🙂" * 13: 5}
    result = truncated_words(words)
    assert result.examples == ["🙂" * 13, "가" * 17, "न" * 16 + "े"]
    assert (result.num_words, result.num_types) == (10, 3)
    assert result.describe() == (
        "71.429% of words (10) and 42.857% of distinct words (3) are longer than 48 bytes, and truncated, such as "
        f"{'🙂' * 13}, {'가' * 17}, {'न' * 16 + 'े'}"
    )


def test_long_examples_are_shortened_and_their_absence_is_reported():
    assert truncated_words({"x" * 1000: 1}).describe().endswith(f"such as {'x' * 24}...")
    assert truncated_words({"x": 1}).describe() == "no word is longer than 48 bytes"
    assert truncated_words({}).describe() == "no word is longer than 48 bytes"


def test_encoding_a_text_reports_it_once(tmp_path, caplog):
    (tmp_path / "text.txt").write_text("물레방아 가 돌 았 다\n" * 3 + "가" * 5 + "\n", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        encode_to_temporary(tmp_path / "text.txt", max_characters=14)
    (record,) = [record for record in caplog.records if "and truncated" in record.getMessage()]
    assert record.getMessage().endswith(
        "6.250% of words (1) and 16.667% of distinct words (1) are longer than 12 bytes, and truncated, such as 가가가가가"
    )
