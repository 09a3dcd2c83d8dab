"""Compare coverage, order and truncated words with direct definitions."""

from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.data.text.truncation import truncated_words
from allennlp_elmo_plus.data.text.vocabulary import order_by_frequency
from allennlp_elmo_plus.data.text.vocabulary_check import coverage, misplaced_special_words, order_faults

SPECIALS = ["<S>", "</S>", "<UNK>"]
short_words = st.text("abcd", min_size=1, max_size=3)
counts_of_words = st.dictionaries(short_words, st.integers(1, 4), min_size=1)


@settings(deadline=None, max_examples=30)
@given(counts_of_words, st.sets(short_words))
def test_coverage_is_a_sum_over_the_text(counts, entries):
    text = [word for word, count in counts.items() for _ in range(count)] + ["<UNK>"]
    result = coverage([*SPECIALS, *entries], {**counts, "<UNK>": 1})
    assert result.num_words == len(text) and result.num_known_words == sum(word in entries for word in text)
    assert result.num_types == len(set(text)) and result.num_known_types == len(set(text) & entries)


@settings(deadline=None, max_examples=30)
@given(counts_of_words)
def test_the_order_by_frequency_has_no_fault(counts):
    assert order_faults(order_by_frequency(counts), counts) is None


@settings(deadline=None, max_examples=30)
@given(counts_of_words, st.randoms())
def test_order_faults_are_those_of_a_loop_over_the_lines(counts, random):
    words = list(counts)
    random.shuffle(words)
    vocabulary = [*SPECIALS, *words]
    rises = [n for n in range(1, len(words)) if counts[words[n]] > counts[words[n - 1]]]
    faults = order_faults(vocabulary, counts)
    if not rises:
        assert faults is None
        return
    assert faults is not None
    assert faults.num_faults == len(rises)
    assert (faults.first_line, faults.first_word) == (rises[0] + 4, words[rises[0]])
    # The lines between each word and the first line that it could be on.
    falls = [n - sum(count > counts[word] for count in counts.values()) for n, word in enumerate(words)]
    worst = falls.index(max(falls))
    assert (faults.worst_word, faults.worst_line, faults.worst_rank) == (
        words[worst],
        worst + 4,
        worst - max(falls) + 4,
    )


def test_special_words_belong_on_the_first_lines():
    assert misplaced_special_words(["</S>", "<UNK>", "<S>", "a"]) == []
    assert misplaced_special_words(["<S>", "</S>", "a", "<UNK>"]) == [
        "<UNK> is on line 4, must be on one of the first 3"
    ]
    assert misplaced_special_words(["a"]) == []


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text("aé나🙂", min_size=1, max_size=8), st.integers(1, 5), min_size=1))
def test_truncated_words_are_those_whose_end_the_encoding_loses(counts):
    def keeps_its_end(word: str) -> bool:
        longer, shorter = encode_words([word], 40), encode_words([word], 12)
        return bool((longer[0, :12] == shorter[0]).all())

    truncated = {word: count for word, count in counts.items() if not keeps_its_end(word)}
    result = truncated_words(counts, max_characters=12, num_examples=2)
    assert (result.num_words, result.num_types) == (sum(truncated.values()), len(truncated))
    assert result.share == sum(truncated.values()) / sum(counts.values())
    assert result.examples == sorted(truncated, key=lambda word: (-truncated[word], word))[:2]
