"""Both ids of a token of a model of ELMoForManyLangs, from its files or from a vocabulary."""

import copy
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Instance, Token, TokenIndexer, Vocabulary
from allennlp.data.fields import TextField

from allennlp_elmo_plus.formats.many_langs import read_many_langs
from allennlp_elmo_plus.plugin.data.token_indexers.many_langs_indexer import BilmManyLangsIndexer
from tests.helpers.many_langs_models import SENTENCES, VARIANTS, write_model

TOKENS = [Token(word) for sentence in SENTENCES for word in sentence]


def indexer_of(directory: Path, **options: object) -> BilmManyLangsIndexer:
    return BilmManyLangsIndexer(str(directory), max_characters_per_token=12, **options)  # type: ignore[arg-type]


def rows(indexer: TokenIndexer, vocabulary: Vocabulary) -> list[list[int]]:
    return indexer.tokens_to_indices(TOKENS, vocabulary)["elmo_tokens"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_ids_are_the_models_from_files_or_a_saved_vocabulary(variant: str, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    write_model(directory, variant)
    expected = read_many_langs(directory).vocabulary.ids([token.text for token in TOKENS]).tolist()
    indexer = indexer_of(directory, namespace="efml")
    instances = [Instance({"text": TextField(TOKENS, {"elmo": indexer})})]
    assert rows(copy.deepcopy(indexer), Vocabulary()) == expected
    vocabulary = Vocabulary.from_instances(instances)
    assert rows(copy.deepcopy(indexer), vocabulary) == expected
    vocabulary.save_to_files(str(tmp_path / "vocabulary"))
    shutil.rmtree(directory)
    loaded = Vocabulary.from_files(str(tmp_path / "vocabulary"))
    assert rows(indexer_of(directory, namespace="efml"), loaded) == expected


def test_padding_is_zeros(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    field = TextField(TOKENS[:2], {"elmo": indexer_of(tmp_path / "model")})
    field.index(Vocabulary())
    padded = field.as_tensor({**field.get_padding_lengths(), "elmo___elmo_tokens": 4})["elmo"]["elmo_tokens"]
    assert padded.shape == (4, 13) and padded.dtype == torch.int64 and (padded[:2] > 0).all() and not padded[2:].any()


def test_an_indexer_can_be_sent_to_another_process(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    indexer = indexer_of(tmp_path / "model")
    assert rows(pickle.loads(pickle.dumps(indexer)), Vocabulary()) == rows(indexer, Vocabulary())


def test_a_wrong_argument_is_named(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    with pytest.raises(
        ConfigurationError, match="`max_characters_per_token` must be 12, as in the config of .*, got 50"
    ):
        rows(BilmManyLangsIndexer(str(tmp_path / "model")), Vocabulary())
    with pytest.raises(ConfigurationError, match="`pretrained_file` must be given"):
        rows(BilmManyLangsIndexer(), Vocabulary())


def test_a_vocabulary_that_lost_words_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    indexer = indexer_of(tmp_path / "model")
    instances = [Instance({"text": TextField(TOKENS, {"elmo": indexer})})]
    vocabulary = Vocabulary.from_instances(instances, max_vocab_size=4)
    with pytest.raises(ConfigurationError, match="must keep all words of the namespace `many_langs_words`"):
        rows(indexer, vocabulary)
