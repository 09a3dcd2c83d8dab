"""The vocabulary `bilm`, whose ids are the lines of the vocabulary file plus one."""

import copy
import os
import pickle
import shutil

import pytest
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.training.util import make_vocab_from_params

from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary, write_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.data.dataset_readers.bilm_reader import BilmReader
from allennlp_elmo_plus.plugin.data.vocabulary import PADDING_TOKEN, BilmVocabulary

TEXT = "b b b a a a c c d\n\nc <S> @@PADDING@@ <unk> @@UNKNOWN@@\n"
ORDER = ["<S>", "</S>", "<UNK>", "a", "b", "c", "@@PADDING@@", "@@UNKNOWN@@", "d"]


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    return str(tmp_path / "corpus.txt")


def build(corpus, tmp_path, **options):
    params = {
        "dataset_reader": {"type": "bilm"},
        "data_loader": {"batch_size": 2},
        "train_data_path": corpus,
        "vocabulary": {"type": "bilm", **options},
    }
    return make_vocab_from_params(Params(params), str(tmp_path / "out"))


def check(vocabulary, words):
    assert vocabulary.get_vocab_size("tokens") == len(words) + 1
    assert [vocabulary.get_token_index(word) - 1 for word in words] == list(range(len(words)))
    assert [vocabulary.get_token_from_index(index + 1) for index in range(len(words))] == words
    assert vocabulary.get_token_index("never seen") == vocabulary.get_token_index("<UNK>") == words.index("<UNK>") + 1
    assert vocabulary.is_padded("tokens")


def test_ids_are_those_of_the_vocabulary_file_plus_one(corpus, tmp_path):
    check(build(corpus, tmp_path), ORDER)
    assert read_vocabulary(tmp_path / "out" / "vocabulary" / "tokens.txt") == ORDER


@pytest.mark.parametrize(
    "options, size", [({"min_count": 2}, 6), ({"max_size": 5}, 5), ({"min_count": 3, "max_size": 30}, 6)]
)
def test_rare_words_are_omitted(corpus, tmp_path, options, size):
    check(build(corpus, tmp_path, **options), ORDER[:size])


def test_a_vocabulary_file_gives_the_words_and_their_order(corpus, tmp_path):
    words = ["the", "<UNK>", "</S>", "@@UNKNOWN@@", "x", "<S>", "<unk>"]
    write_vocabulary(tmp_path / "vocab.txt", words)
    check(build(corpus, tmp_path, vocab_file=str(tmp_path / "vocab.txt")), words)


def test_with_a_vocabulary_file_the_text_is_not_read(tmp_path):
    def instances():
        pytest.fail("the text must not be read")
        yield

    write_vocabulary(tmp_path / "vocab.txt", ORDER)
    check(BilmVocabulary.from_text(instances(), vocab_file=str(tmp_path / "vocab.txt")), ORDER)


def test_a_saved_and_loaded_vocabulary_is_the_same(corpus, tmp_path):
    built = build(corpus, tmp_path)
    directory = str(tmp_path / "out" / "vocabulary")
    # `Model.load` calls `from_files` for an archive. A distributed training gives each process a config of type `from_files`.
    loaded = BilmVocabulary.from_files(directory, None, None)
    assert isinstance(loaded, BilmVocabulary)
    check(loaded, ORDER)
    assert loaded == built
    tokens = {"padding_token": built._padding_token, "oov_token": built._oov_token}
    check(Vocabulary.from_params(Params({"type": "from_files", "directory": directory, **tokens})), ORDER)


def test_a_pickled_or_copied_vocabulary_is_the_same(corpus, tmp_path):
    built = build(corpus, tmp_path)
    for other in (pickle.loads(pickle.dumps(built)), copy.deepcopy(built)):
        assert other == built
        check(other, ORDER)


def test_bad_options_are_refused(corpus, tmp_path):
    instances = list(BilmReader().read(corpus))
    with pytest.raises(InputError, match="`min_count` must be at least 1, got 0"):
        BilmVocabulary.from_text(instances, min_count=0)
    with pytest.raises(InputError, match="no word occurs at least 9 times"):
        BilmVocabulary.from_text(instances, min_count=9)
    with pytest.raises(InputError, match=r"no word occurs at least 1 time \(`min_count`"):
        BilmVocabulary.from_text([])
    with pytest.raises(
        InputError, match="`min_count` and `max_size` must be left out where `vocab_file` gives the vocabulary"
    ):
        BilmVocabulary.from_text(instances, max_size=9, vocab_file="vocab.txt")
    with pytest.raises(InputError, match="absent.txt: there is no such file or directory"):
        BilmVocabulary.from_text(instances, vocab_file=str(tmp_path / "absent.txt"))


def test_a_misspelt_option_is_refused_with_the_right_name(corpus, tmp_path):
    with pytest.raises(ConfigurationError, match="has no option `min_counts`: did you mean `min_count`?"):
        build(corpus, tmp_path, min_counts=2)


def test_a_real_text_has_the_known_number_of_words(shared_data, tmp_path):
    vocabulary = build(str(shared_data / "wikitext-2" / "train.txt"), tmp_path, min_count=2)
    assert vocabulary.get_vocab_size("tokens") == 9494 + 1


def test_files_are_written_atomically(corpus, tmp_path, monkeypatch):
    vocabulary = build(corpus, tmp_path)
    directory = tmp_path / "out" / "vocabulary"
    before = sorted(os.listdir(directory))
    (directory / ".tokens.0123456789ab.tmp.txt").write_text("left by a process that was killed")

    def copy_half(source, target):
        target.write_text("half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", copy_half)
        with pytest.raises(OSError, match="No space left"):
            vocabulary.save_to_files(str(directory))
    assert sorted(os.listdir(directory)) == before and os.listdir(tmp_path / "out") == ["vocabulary"]
    assert read_vocabulary(directory / "tokens.txt") == ORDER


@pytest.mark.parametrize("text", [TEXT + "more\n", TEXT.replace("a", "e")])
def test_another_vocabulary_is_not_overwritten(corpus, tmp_path, text):
    saved = tmp_path / "out" / "vocabulary"
    build(corpus, tmp_path).save_to_files(saved)
    (tmp_path / "other.txt").write_text(text, encoding="utf-8")
    other = build(str(tmp_path / "other.txt"), tmp_path / "other")
    with pytest.raises(InputError, match=f"^`{saved}/tokens.txt` is of another vocabulary: a run cannot be resumed"):
        other.save_to_files(saved)
    assert read_vocabulary(saved / "tokens.txt") == ORDER and os.listdir(tmp_path / "out") == ["vocabulary"]


def test_the_same_vocabulary_may_be_saved_again_with_namespaces_in_another_order(corpus, tmp_path):
    directory = tmp_path / "out" / "vocabulary"
    vocabulary = build(corpus, tmp_path)
    path = directory / "non_padded_namespaces.txt"
    lines = path.read_text().splitlines()
    assert len(lines) > 1
    path.write_text("\n".join(reversed(lines)) + "\n")
    vocabulary.save_to_files(directory)
    assert sorted(path.read_text().splitlines()) == sorted(lines)


@pytest.mark.parametrize("text", ["a b a\n", TEXT])
def test_the_vocabulary_that_allennlp_loads_for_a_distributed_training_is_of_this_class(corpus, tmp_path, text):
    (tmp_path / "corpus.txt").write_text(text)
    words = build(corpus, tmp_path).get_token_to_index_vocabulary("tokens")
    directory = str(tmp_path / "out" / "vocabulary")
    by_config = {"type": "from_files", "directory": directory, "padding_token": PADDING_TOKEN, "oov_token": "<UNK>"}
    for loaded in (Vocabulary.from_params(Params(by_config)), Vocabulary.from_files(directory)):
        assert isinstance(loaded, BilmVocabulary)
        assert loaded.get_token_to_index_vocabulary("tokens") == words and loaded._oov_token == "<UNK>"


def test_allennlps_own_vocabulary_of_the_same_words_is_loaded_as_its_own_class(corpus, tmp_path):
    params = {"dataset_reader": {"type": "bilm"}, "data_loader": {"batch_size": 2}, "train_data_path": corpus}
    built = make_vocab_from_params(Params(params), str(tmp_path / "out"))
    loaded = Vocabulary.from_files(str(tmp_path / "out" / "vocabulary"))
    assert type(built) is type(loaded) is Vocabulary
    assert loaded.get_token_to_index_vocabulary("tokens") == built.get_token_to_index_vocabulary("tokens")


def test_words_spelled_as_escapes_of_allennlp_keep_their_ids_in_a_saved_vocabulary(tmp_path):
    words = ["@@NEWLINE@@", "a@@NEWLINE@@b", "@@PADDING@@", "@@UNKNOWN@@", "\\n", "plain"]
    (tmp_path / "corpus.txt").write_text(" ".join(words), encoding="utf-8")
    built = build(str(tmp_path / "corpus.txt"), tmp_path)
    loaded = BilmVocabulary.from_files(tmp_path / "out" / "vocabulary", None, None)
    assert loaded.get_token_to_index_vocabulary("tokens") == built.get_token_to_index_vocabulary("tokens")
    assert loaded.get_index_to_token_vocabulary("tokens") == built.get_index_to_token_vocabulary("tokens")
    assert loaded.get_token_index("\n") == loaded.get_token_index("<UNK>")
