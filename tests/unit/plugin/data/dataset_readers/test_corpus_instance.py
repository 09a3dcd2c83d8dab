"""The one instance that stands for a whole text, whose words were counted when the text was encoded."""

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Optional

import pytest
from allennlp.data.token_indexers import SingleIdTokenIndexer, TokenCharactersIndexer

from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.data.dataset_readers.bilm_reader import BilmReader
from allennlp_elmo_plus.plugin.data.dataset_readers.corpus_instance import CorpusInstance
from allennlp_elmo_plus.plugin.data.vocabulary import BilmVocabulary

TEXT = "the mill stands\n\nby the <S> river\nthe river\u00a0runs ñandú\n"


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    return str(tmp_path / "text.txt")


def counts_of(instances: object) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(Counter)
    for instance in instances:  # type: ignore[attr-defined]
        instance.count_vocab_items(counts)
    return counts


def test_the_counts_of_the_corpus_instance_are_those_of_the_sentences(path: str) -> None:
    (instance,) = BilmDataLoader(BilmReader(), path, batch_size=1).iter_instances()
    assert isinstance(instance, CorpusInstance)
    assert counts_of([instance]) == counts_of(BilmReader().read(path))


def test_the_vocabulary_is_that_of_the_sentences(path: str) -> None:
    loader = BilmDataLoader(BilmReader(), path, batch_size=1)
    ours, theirs = (
        BilmVocabulary.from_text(instances, min_count=2)
        for instances in (loader.iter_instances(), loader.reader.read(path))
    )
    assert ours.get_token_to_index_vocabulary("tokens") == theirs.get_token_to_index_vocabulary("tokens")
    assert ours.get_vocab_size("tokens") > 4


@pytest.mark.parametrize(
    "reader",
    [
        BilmReader(max_instances=3),
        BilmReader(token_indexers={"spelling": TokenCharactersIndexer(min_padding_length=1)}),
        BilmReader(token_indexers={"lower": SingleIdTokenIndexer("lower", lowercase_tokens=True)}),
    ],
    ids=["a part of the text", "characters", "another namespace"],
)
def test_other_counts_than_those_of_the_words_are_made_from_the_sentences(reader: BilmReader, path: str) -> None:
    counts = counts_of(BilmDataLoader(reader, path, batch_size=1).iter_instances())
    assert counts == counts_of(reader.read(path))
    assert set(counts) != {"tokens"} or counts["tokens"]["river"] == 1


@pytest.mark.parametrize("max_instances", [None, 3])
def test_a_pipe_is_read_only_once(max_instances: Optional[int], path: str) -> None:
    reader = BilmReader(max_instances=max_instances)
    reading, writing = os.pipe()
    os.write(writing, TEXT.encode("utf-8"))
    os.close(writing)
    loader = BilmDataLoader(reader, f"/dev/fd/{reading}", batch_size=1)
    counts = counts_of(loader.iter_instances())
    os.close(reading)
    assert counts == counts_of(reader.read(path))
    vocabulary = BilmVocabulary.from_text(reader.read(path))
    loader.index_with(vocabulary)
    expected = BilmDataLoader(reader, path, batch_size=1)
    expected.index_with(vocabulary)
    assert len(loader) == len(expected)
