"""The token indexer `bilm_words`, whose ids are those of the biLM's vocabulary, not of the downstream model's."""

import pytest
from allennlp.common.checks import ConfigurationError
from allennlp.data import Instance, Token, TokenIndexer, Vocabulary
from allennlp.data.fields import LabelField, TextField

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.data.token_indexers.words_indexer import BilmWordsIndexer

WORDS = ["</S>", "<S>", "<UNK>", "the", "river", "rises", "mill", "나비"]
ESCAPES = ["@@NEWLINE@@", "a@@NEWLINE@@", "@@PADDING@@", "@@UNKNOWN@@", "\\n"]


@pytest.fixture
def vocab_file(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    return str(path)


def instances(indexer):
    sentences = [["mill", "the", "wheel"], ["mill", "mill"]]
    return [
        Instance({"text": TextField([Token(word) for word in words], {"words": indexer}), "label": LabelField("a")})
        for words in sentences
    ]


def ids(indexer, vocabulary, words):
    return indexer.tokens_to_indices([Token(word) for word in words], vocabulary)


def test_ids_are_lines_of_the_bilms_vocabulary(vocab_file):
    indexer = BilmWordsIndexer(vocab_file)
    vocabulary = Vocabulary.from_instances(instances(indexer))
    # `river` is in no instance; `wheel` is not in the biLM's vocabulary.
    assert ids(indexer, vocabulary, ["mill", "river", "나비", "wheel", "</S>"]) == {"tokens": [7, 5, 8, 3, 1]}
    field = instances(indexer)[0]["text"]
    field.index(vocabulary)
    padded = field.as_tensor({**field.get_padding_lengths(), "words___tokens": 5})
    assert padded["words"]["tokens"].tolist() == [7, 4, 3, 0, 0]
    assert indexer.get_empty_token_list() == {"tokens": []}


@pytest.mark.parametrize("namespace", ["bilm_words", "bilm_words_tags"])
def test_with_a_saved_vocabulary_the_file_is_not_needed(vocab_file, tmp_path, namespace):
    first = BilmWordsIndexer(vocab_file, namespace=namespace)
    Vocabulary.from_instances(instances(first)).save_to_files(str(tmp_path / "vocabulary"))
    loaded = Vocabulary.from_files(str(tmp_path / "vocabulary"))
    again = BilmWordsIndexer("gone.txt", namespace=namespace)
    assert ids(again, loaded, WORDS) == {"tokens": list(range(1, 9))}


def test_words_spelled_as_escapes_of_allennlp_keep_their_ids(vocab_file, tmp_path):
    words = [*WORDS[:4], *ESCAPES, *WORDS[4:]]
    with open(vocab_file, "w", encoding="utf-8") as file:
        file.writelines(f"{word}\n" for word in words)
    first = BilmWordsIndexer(vocab_file)
    vocabulary = Vocabulary.from_instances(instances(first))
    vocabulary.save_to_files(str(tmp_path / "vocabulary"))
    expected = {"tokens": list(range(1, len(words) + 1))}
    assert ids(first, vocabulary, words) == expected
    # Once with the file, once without it.
    for again in (BilmWordsIndexer(vocab_file), BilmWordsIndexer()):
        assert ids(again, Vocabulary.from_files(str(tmp_path / "vocabulary")), words) == expected


def test_a_vocabulary_that_omits_words_is_refused(vocab_file):
    indexer = BilmWordsIndexer(vocab_file)
    vocabulary = Vocabulary.from_instances(instances(indexer), max_vocab_size=5)
    with pytest.raises(ConfigurationError, match="must keep all words of the namespace `bilm_words`"):
        ids(indexer, vocabulary, ["the"])


def test_a_vocabulary_without_the_namespace_needs_the_file(vocab_file):
    assert ids(BilmWordsIndexer(vocab_file), Vocabulary(), ["the"]) == {"tokens": [4]}
    with pytest.raises(
        ConfigurationError, match="`vocab_file` must be given, as the vocabulary has no namespace `bilm_words`"
    ):
        ids(BilmWordsIndexer(), Vocabulary(), ["the"])


def test_a_file_without_the_special_words_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("the\ncat\n")
    with pytest.raises(InputError, match="vocab.txt: the vocabulary lacks <S>, </S>, <UNK>"):
        Vocabulary.from_instances(instances(BilmWordsIndexer(str(tmp_path / "vocab.txt"))))


def test_the_indexer_is_registered():
    assert TokenIndexer.by_name("bilm_words") is BilmWordsIndexer
