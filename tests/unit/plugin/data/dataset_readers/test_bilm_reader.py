"""The dataset reader `bilm`: instances of sentences, their counts of words, and AllenNLP's data loaders over them."""

import contextlib
import copy
import io
import pickle
import sys
from collections import defaultdict

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Vocabulary
from allennlp.data.data_loaders import MultiProcessDataLoader, SimpleDataLoader
from allennlp.data.data_loaders.multiprocess_data_loader import WorkerError
from allennlp.data.dataset_readers.dataset_reader import DistributedInfo, WorkerInfo
from allennlp.data.token_indexers import SingleIdTokenIndexer, TokenCharactersIndexer

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.data.dataset_readers.bilm_reader import BilmReader, SentenceInstance
from allennlp_elmo_plus.plugin.data.dataset_readers.conll_tags_reader import ConllTagsReader
from allennlp_elmo_plus.plugin.data.vocabulary import BilmVocabulary

SENTENCES = [f"the dog number {index} barks".split()[: 1 + index % 5] for index in range(23)]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(" ".join(words) for words in SENTENCES), encoding="utf-8")
    return str(path)


@pytest.fixture
def vocabulary(corpus):
    return BilmVocabulary.from_text(BilmReader().read(corpus))


def test_a_sentence_has_its_two_boundaries(corpus):
    instances = list(DatasetReader.from_params(Params({"type": "bilm"})).read(corpus))
    assert [[token.text for token in instance["source"]] for instance in instances] == [
        ["<S>", *words, "</S>"] for words in SENTENCES
    ]


def test_ids_are_characters_and_vocabulary_ids(corpus, vocabulary):
    instance = BilmReader().text_to_instance(["the", "unseen", "<S>"])
    BilmReader().apply_token_indexers(instance)
    instance.index_fields(vocabulary)
    source = instance.as_tensor_dict()["source"]
    assert source["tokens"]["tokens"].tolist() == [1, 4, 3, 1, 2]
    characters = source["characters"]["elmo_tokens"]
    assert characters.shape == (5, 50)
    assert torch.equal(characters[0], characters[3]) and characters[4, 1] == 258


def test_the_fields_of_an_instance_are_built_when_they_are_first_used(corpus):
    instances = list(BilmReader().read(corpus))
    counter: dict = defaultdict(lambda: defaultdict(int))
    for instance in instances:
        instance.count_vocab_items(counter)
    assert all(instance._fields is None for instance in instances)
    assert instances[0].fields is instances[0].fields
    assert len(instances[0]) == 1 and list(instances[0]) == ["source"]


def test_counts_of_words_are_those_of_the_fields(corpus):
    def count(reader, **namespaces):
        fast: dict = defaultdict(lambda: defaultdict(int))
        slow: dict = defaultdict(lambda: defaultdict(int))
        for instance in reader.read(corpus):
            instance.count_vocab_items(fast)
            instance["source"].count_vocab_items(slow)
        return fast, slow

    fast, slow = count(BilmReader())
    assert fast == slow and fast["tokens"]["the"] == len(SENTENCES)
    fast, slow = count(
        BilmReader(
            {"tokens": SingleIdTokenIndexer(), "letters": TokenCharactersIndexer("letters", min_padding_length=3)}
        )
    )
    assert fast == slow and fast.keys() == {"tokens", "letters"}
    fast, slow = count(BilmReader({"lower": SingleIdTokenIndexer("lower", lowercase_tokens=True)}))
    assert fast.keys() == {"tokens", "lower"} and fast["lower"] == slow["lower"]


@pytest.mark.parametrize("built", [False, True])
def test_an_instance_can_be_pickled_and_copied_before_and_after_its_fields_are_built(vocabulary, built):
    instance = SentenceInstance(["the", "dog"])
    BilmReader().apply_token_indexers(instance)
    if built:
        instance.index_fields(vocabulary)
    for other in (pickle.loads(pickle.dumps(instance)), copy.deepcopy(instance), instance.duplicate()):
        BilmReader().apply_token_indexers(other)
        assert other.indexed == built
        other.index_fields(vocabulary)
        assert other.as_tensor_dict()["source"]["tokens"]["tokens"].tolist() == [1, 4, 5, 2]


def ids_of(loader, vocabulary):
    loader.index_with(vocabulary)
    rows = []
    for batch in loader:
        ids = batch["source"]["tokens"]["tokens"]
        assert batch["source"]["characters"]["elmo_tokens"].shape == (*ids.shape, 50)
        rows += [[index for index in row if index] for row in ids.tolist()]
    return rows


@pytest.mark.parametrize("max_instances", [None, 7])
@pytest.mark.parametrize("in_memory", [None, 8])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_loader_gives_each_sentence_once(corpus, vocabulary, num_workers, in_memory, max_instances):
    reader = BilmReader(max_instances=max_instances)
    expected = [[1, *(vocabulary.get_token_index(word) for word in words), 2] for words in SENTENCES[:max_instances]]
    rows: list[list[int]] = []
    for _ in range(5):
        # Sometimes AllenNLP tells a worker to stop that has just ended by itself.
        with contextlib.suppress(BrokenPipeError):
            loader = MultiProcessDataLoader(
                reader, corpus, batch_size=4, num_workers=num_workers, max_instances_in_memory=in_memory, quiet=True
            )
            rows = ids_of(loader, vocabulary)
            break
    assert sorted(rows) == sorted(expected)
    if num_workers == 0:
        assert (
            rows == expected == ids_of(SimpleDataLoader.from_dataset_reader(reader, corpus, 4, quiet=True), vocabulary)
        )


def test_ranks_and_workers_share_the_sentences(corpus):
    sentences = []
    for rank in range(3):
        for worker in range(2):
            reader = BilmReader()
            reader._set_distributed_info(DistributedInfo(3, rank))
            reader._set_worker_info(WorkerInfo(2, worker))
            sentences += [instance.words for instance in reader.read(corpus)]
    assert sorted(sentences) == sorted(SENTENCES)


def test_standard_input_is_read(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe\n")))
    assert [instance.words for instance in BilmReader().read("-")] == [["from", "a", "pipe"]]


def test_bad_options_and_texts_are_refused(tmp_path, corpus):
    with pytest.raises(InputError, match="`encoding_errors` must be"):
        BilmReader(encoding_errors="ignore")
    with pytest.raises(ConfigurationError, match="has no option `encoding_error`: did you mean `encoding_errors`?"):
        DatasetReader.from_params(Params({"type": "bilm", "encoding_error": "replace"}))
    with pytest.raises(InputError, match="absent`: there is no such file"):
        list(BilmReader().read(str(tmp_path / "absent")))
    with pytest.raises(ValueError, match="`words` must be a list of words, got the string 'the dog'"):
        BilmReader().text_to_instance("the dog")
    for reader in (BilmReader(), ConllTagsReader()):
        with pytest.raises(InputError, match=r"^`words\[1\]` must be a string, got None, in \['the', None\]$"):
            reader.text_to_instance(["the", None])
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    path = str(tmp_path / "latin.txt")
    with pytest.raises(InputError, match="latin.txt, line 1: byte 0xe9 is not UTF-8"):
        list(BilmReader().read(path))
    assert [instance.words for instance in BilmReader(encoding_errors="replace").read(path)] == [["caf\ufffd"]]
    with pytest.raises(WorkerError, match="latin.txt, line 1: byte 0xe9 is not UTF-8"):
        MultiProcessDataLoader(BilmReader(), path, batch_size=4, num_workers=2, quiet=True)


def test_allennlps_own_vocabulary_counts_the_words(corpus):
    plain = Vocabulary.from_instances(BilmReader().read(corpus))
    assert plain.get_token_index("dog") != plain.get_token_index("unseen")


def test_words_with_tags_get_their_indexers_where_batches_are_made(tmp_path):
    (tmp_path / "tags.conllu").write_text("1\tthe\tthe\tDET\t_\t_\t0\t_\t_\t_\n\n", "utf-8")
    reader = ConllTagsReader({"tokens": SingleIdTokenIndexer()})
    loader = MultiProcessDataLoader(reader, str(tmp_path / "tags.conllu"), batch_size=1, num_workers=1)
    loader.index_with(Vocabulary.from_instances(loader.iter_instances()))
    (batch,) = loader
    assert batch["tokens"]["tokens"]["tokens"].shape == (1, 1)
