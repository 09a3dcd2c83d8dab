"""Labelled sentences: those to train on, those to choose settings on, and those to measure on."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from allennlp_elmo_plus.data.text.conll import CONLL2003, TaggedSentence, read_tagged_sentences
from examples.shared.files import find


class Chunks(NamedTuple):
    """Labelled sentences. `dev` has about every tenth of the training file's sentences, by the hash of their words."""

    train: list[TaggedSentence]
    dev: list[TaggedSentence]
    test: list[TaggedSentence]


def read_chunks(folder: Path) -> Chunks:
    """Return the sentences in the files conll2000_train.txt and conll2000_test.txt of `folder`, each plain or `.gz`.

    Raises:
        InputError: a file is missing, or a line of it has too few columns.
    """
    labelled, test = (
        list(read_tagged_sentences(find(folder, f"conll2000_{part}.txt"), CONLL2003, -1)) for part in ("train", "test")
    )
    train, dev = (
        [sentence for sentence in labelled if (_hash(sentence) % 10 == 0) == is_dev] for is_dev in (False, True)
    )
    return Chunks(train, dev, test)


def choose(sentences: Sequence[TaggedSentence], share: float, seed: int) -> list[TaggedSentence]:
    """Return a share of `sentences`, at least one, chosen by `seed`. A smaller share is a part of a larger one."""
    return sorted(sentences, key=partial(_hash, seed=seed))[: max(1, round(share * len(sentences)))]


def _hash(sentence: TaggedSentence, seed: int = 0) -> int:
    text = " ".join([str(seed), *sentence.words])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
