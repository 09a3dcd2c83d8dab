"""The data loader `bilm`, which reads lanes of running text."""

import json
import threading

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DataLoader
from allennlp.data.dataset_readers import SequenceTaggingDatasetReader
from allennlp.data.vocabulary import Vocabulary
from allennlp.models import Model
from allennlp.models.archival import load_archive
from torch import nn

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.corpus import cache as corpus_cache
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.data.dataset_readers.bilm_reader import BilmReader
from allennlp_elmo_plus.plugin.data.token_indexers.characters_indexer import BilmCharactersIndexer
from tests.unit.plugin.data.data_loaders.conftest import LINES

NUM_TARGETS = sum(len(line.split()) + 1 for line in LINES)


@Model.register("counts-targets")
class CountsTargets(Model):
    """A model that counts the targets of its batches."""

    def __init__(self, vocab: Vocabulary) -> None:
        super().__init__(vocab)
        self.scale = nn.Parameter(torch.ones(1))
        self.num_targets = 0

    def forward(self, batch: LanguageModelBatch) -> dict:
        self.num_targets += int(batch.mask.sum())
        return {"loss": self.scale.sum() * float(batch.mask.sum())}

    def get_metrics(self, reset: bool = False) -> dict:
        num_targets = self.num_targets
        if reset:
            self.num_targets = 0
        return {"num_targets": num_targets}


def targets_of(batches):
    return [int(number) for item in batches for number in item["batch"].forward_targets[item["batch"].mask]]


def have_same_targets(first, second):
    return torch.equal(first["batch"].forward_targets, second["batch"].forward_targets)


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_length_is_the_number_of_batches_of_every_epoch(make_loader, shuffle):
    loader = make_loader(shuffle=shuffle)
    for epoch in range(4):
        assert loader.epoch == epoch
        assert len(loader) == len(list(loader))


def test_every_target_occurs_once_per_epoch(make_loader):
    loader = make_loader()
    vocabulary = loader._vocabulary
    expected = sorted(
        vocabulary.get_token_index(word, "tokens") - 1 for line in LINES for word in [*line.split(), "</S>"]
    )
    assert [sorted(targets_of(loader)) for _ in range(2)] == [expected] * 2


def test_epochs_differ_and_the_same_seed_repeats_them(make_loader):
    loader, repeated = make_loader(n_negative_samples_batch=3), make_loader(n_negative_samples_batch=3)
    first, second = list(loader), list(loader)
    assert targets_of(first) != targets_of(second)
    for epoch in (first, second):
        for item, again in zip(epoch, repeated, strict=True):
            for sample in ("forward_negatives", "backward_negatives"):
                assert torch.equal(getattr(item["batch"], sample).ids, getattr(again["batch"], sample).ids)
            assert have_same_targets(item, again)
    assert targets_of(make_loader(seed=5)) != targets_of(first)
    unshuffled = make_loader(shuffle=False)
    assert targets_of(unshuffled) == targets_of(unshuffled)


def test_without_shuffling_every_epoch_has_the_order_of_the_text(make_loader):
    loader = make_loader(batch_size=1, shuffle=False)
    ids = loader._vocabulary.get_token_index
    in_order = [ids(word, "tokens") - 1 for line in LINES for word in [*line.split(), "</S>"]]
    assert [targets_of(loader) for _ in range(2)] == [in_order] * 2
    assert targets_of(make_loader(batch_size=1, shuffle=False, seed=5)) == in_order


@pytest.mark.parametrize(
    "options, name, value",
    [
        ({"batch_size": 4}, "number of lanes (`batch_size` times processes)", 4),
        ({"num_steps": 5}, "`num_steps`", 5),
        ({"shuffle": False}, "`shuffle`", False),
        ({"seed": 5}, "`seed`", 5),
        ({"n_negative_samples_batch": 3}, "`n_negative_samples_batch`", 3),
        ({"reader": BilmReader(max_instances=7)}, "`max_instances`", 7),
    ],
)
def test_the_identity_has_every_option_that_changes_batches(make_loader, options, name, value):
    usual, changed = make_loader().identity(), make_loader(**options).identity()
    assert {key: changed[key] for key in changed if changed[key] != usual[key]} == {name: value}


def test_another_text_has_another_identity(make_loader, path):
    usual = make_loader().identity()
    with open(path, "a", encoding="utf-8") as file:
        file.write("one more\n")
    assert {key for key, value in make_loader().identity().items() if value != usual[key]} == {
        "text (`train_data_path`)"
    }


def test_an_interrupted_epoch_can_be_resumed(make_loader):
    uninterrupted = make_loader()
    next(iter(uninterrupted))
    second = list(uninterrupted)
    loader = make_loader()
    loader.epoch, loader.start_window = 1, 5
    assert len(loader) == len(second) - 5
    rest = list(loader)
    assert all(map(have_same_targets, rest, second[5:])) and len(rest) == len(second) - 5
    assert (loader.epoch, loader.start_window) == (2, 0)
    loader.start_window = 10**6
    assert len(loader) == len(list(loader)) == 0


def test_the_length_read_after_the_iterator_was_made_is_that_of_its_epoch(make_loader):
    # AllenNLP's trainer reads the length in this order.
    loader = make_loader(batch_size=2, num_steps=1)
    for _ in range(3):
        batches = iter(loader)
        length = len(loader)
        assert length == len(list(batches))


def test_negatives_come_from_the_vocabulary(make_loader):
    loader = make_loader(n_negative_samples_batch=8)
    ids = {int(number) for item in loader for number in item["batch"].forward_negatives.ids}
    # The vocabulary has 9 words; AllenNLP's padding does not count.
    assert ids == set(range(9))
    assert next(iter(make_loader(n_negative_samples_batch=9)))["batch"].forward_negatives is None


def test_batches_are_moved_to_the_device(make_loader):
    loader = make_loader(n_negative_samples_batch=3)
    loader.set_target_device(torch.device("meta"))
    batch = next(iter(loader))["batch"]
    assert isinstance(batch, LanguageModelBatch)
    for tensor in (batch.characters, batch.forward_inputs, batch.lengths, batch.mask, batch.forward_negatives.ids):
        assert tensor.device.type == "meta"
    assert batch.batch_sizes == [3] * 4


def test_an_epoch_that_is_not_read_to_its_end_leaves_no_thread(make_loader):
    for _ in make_loader():
        break
    assert not [thread for thread in threading.enumerate() if thread.name == "bilm-prefetch"]


def test_the_loader_uses_the_options_of_the_reader(make_loader, path):
    loader = make_loader(BilmReader(max_instances=3), shuffle=False)
    assert len(targets_of(loader)) == sum(len(line.split()) + 1 for line in LINES[:3])
    narrow = BilmReader({"characters": BilmCharactersIndexer(max_characters_per_token=6)})
    assert next(iter(make_loader(narrow)))["batch"].characters.shape[1] == 6
    with open(path, "ab") as file:
        file.write(b"\xff\n")
    with pytest.raises(InputError, match="is not UTF-8"):
        make_loader()
    assert len(targets_of(make_loader(BilmReader(encoding_errors="replace")))) == NUM_TARGETS + 2


def test_the_encoded_text_is_in_the_cache_or_the_serialization_directory(make_loader, tmp_path):
    cache, serialization_dir = tmp_path / "cache", tmp_path / "run"
    len(make_loader(cache_directory=str(cache), serialization_dir=str(serialization_dir)))
    assert cache.is_dir() and not serialization_dir.exists()
    len(make_loader(serialization_dir=str(serialization_dir)))
    assert list((serialization_dir / "encoded_text").iterdir())
    assert "bilm-corpus-" in str(make_loader()._corpus.directory)


def test_the_text_is_not_read_before_it_is_needed(tmp_path):
    loader = BilmDataLoader(BilmReader(), str(tmp_path / "absent"), batch_size=2)
    with pytest.raises(InputError, match="absent`: there is no such file"):
        list(loader.iter_instances())


def test_wrong_readers_options_and_vocabularies_are_refused(make_loader, path):
    with pytest.raises(ConfigurationError, match='needs the dataset reader "bilm", got a SequenceTaggingDatasetReader'):
        BilmDataLoader(SequenceTaggingDatasetReader(), path, batch_size=2)
    for name, value, minimum in (
        ("batch_size", 0, 1),
        ("num_steps", 0, 1),
        ("seed", -1, 0),
        ("n_negative_samples_batch", 0, 1),
    ):
        with pytest.raises(ConfigurationError, match=f"`{name}` must be at least {minimum}, got {value}"):
            make_loader(**{name: value})
    with pytest.raises(ConfigurationError, match="needs `index_with` to be called"):
        next(iter(BilmDataLoader(BilmReader(), path, batch_size=2)))
    widths = {name: BilmCharactersIndexer(width) for name, width in (("a", 10), ("b", 50))}
    with pytest.raises(ConfigurationError, match=r"must be the same in all indexers, got \[10, 50\]"):
        next(iter(make_loader(BilmReader(widths))))
    plain = make_loader()
    plain.index_with(Vocabulary())
    with pytest.raises(InputError, match="lacks <S>, </S>, <UNK>"):
        next(iter(plain))


@pytest.fixture
def encoded_texts(monkeypatch):
    """Return a list that grows by the path of each text that is encoded."""
    paths = []
    encode_text = corpus_cache.encode_text
    monkeypatch.setattr(
        corpus_cache, "encode_text", lambda path, *arguments: paths.append(path) or encode_text(path, *arguments)
    )
    return paths


def test_the_text_encoded_to_count_its_words_is_used_in_training(path, tmp_path, encoded_texts):
    run = str(tmp_path / "run")
    # AllenNLP counts words before it starts the processes, and each process makes a data loader.
    list(BilmDataLoader(BilmReader(serialization_dir=run), path, 2).iter_instances())
    len(BilmDataLoader(BilmReader(serialization_dir=run), path, 2, serialization_dir=run))
    assert encoded_texts == [path]


def test_allennlp_trains_and_evaluates_with_the_loader(path, tmp_path, encoded_texts):
    run = tmp_path / "run"
    config = {
        "dataset_reader": {"type": "bilm"},
        "vocabulary": {"type": "bilm"},
        "train_data_path": path,
        "validation_data_path": path,
        "test_data_path": path,
        "evaluate_on_test": True,
        "model": {"type": "counts-targets"},
        "data_loader": {"type": "bilm", "batch_size": 3, "num_steps": 4, "n_negative_samples_batch": 4},
        "validation_data_loader": {"type": "bilm", "batch_size": 2, "shuffle": False},
        "trainer": {"optimizer": {"type": "sgd", "lr": 0.1}, "num_epochs": 2, "cuda_device": -1},
    }
    train_model(Params(config), str(run))
    metrics = json.loads((run / "metrics.json").read_text())
    assert (
        metrics["training_num_targets"]
        == metrics["validation_num_targets"]
        == metrics["test_num_targets"]
        == NUM_TARGETS
    )
    # The loader got `serialization_dir`, and the text, which has three uses, is encoded once.
    assert encoded_texts == [path] and (run / "encoded_text").is_dir()

    archive = load_archive(str(run))
    params = archive.config["data_loader"]
    params["batch_size"] = 5
    loader = DataLoader.from_params(params=params, reader=archive.validation_dataset_reader, data_path=path)
    loader.index_with(archive.model.vocab)
    assert loader.batch_size == 5 and len(targets_of(loader)) == NUM_TARGETS
