"""Coverage, order and cut words of a vocabulary, beside their definitions written plainly."""

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
    found = coverage([*SPECIALS, *entries], {**counts, "<UNK>": 1})
    assert found.num_words == len(text) and found.num_known_words == sum(word in entries for word in text)
    assert found.num_types == len(set(text)) and found.num_known_types == len(set(text) & entries)


@settings(deadline=None, max_examples=30)
@given(counts_of_words)
def test_the_order_we_write_has_no_fault(counts):
    assert order_faults(order_by_frequency(counts), counts) is None


@settings(deadline=None, max_examples=30)
@given(counts_of_words, st.randoms())
def test_order_faults_are_those_of_a_plain_walk(counts, random):
    words = list(counts)
    random.shuffle(words)
    vocabulary = [*SPECIALS, *words]
    rises = [n for n in range(1, len(words)) if counts[words[n]] > counts[words[n - 1]]]
    found = order_faults(vocabulary, counts)
    if not rises:
        assert found is None
        return
    assert found is not None
    assert found.num_faults == len(rises)
    assert (found.first_line, found.first_word) == (rises[0] + 4, words[rises[0]])
    # How far below the first line it could stand on each word is.
    falls = [n - sum(count > counts[word] for count in counts.values()) for n, word in enumerate(words)]
    worst = falls.index(max(falls))
    assert (found.worst_word, found.worst_line, found.worst_rank) == (words[worst], worst + 4, worst - max(falls) + 4)


def test_special_words_belong_on_the_first_lines():
    assert misplaced_special_words(["</S>", "<UNK>", "<S>", "a"]) == []
    assert misplaced_special_words(["<S>", "</S>", "a", "<UNK>"]) == [
        "<UNK> is on line 4, must be on one of the first 3"
    ]
    assert misplaced_special_words(["a"]) == []


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text("aé나🙂", min_size=1, max_size=8), st.integers(1, 5), min_size=1))
def test_cut_words_are_those_whose_end_the_encoding_loses(counts):
    def keeps_its_end(word: str) -> bool:
        longer, shorter = encode_words([word], 40), encode_words([word], 12)
        return bool((longer[0, :12] == shorter[0]).all())

    cut = {word: count for word, count in counts.items() if not keeps_its_end(word)}
    found = truncated_words(counts, max_characters=12, num_examples=2)
    assert (found.num_words, found.num_types) == (sum(cut.values()), len(cut))
    assert found.share == sum(cut.values()) / sum(counts.values())
    assert found.examples == sorted(cut, key=lambda word: (-cut[word], word))[:2]
