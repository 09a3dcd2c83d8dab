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
from allennlp_elmo_plus.plugin.data.vocabulary import BilmVocabulary
from allennlp_elmo_plus.training.distributed.world import World

LINES = ["the hen sat on the egg", "", "a fox ran", "the egg lay still", "no hen ran", "a hen sat"] * 5
NUM_TARGETS = sum(len(line.split()) + 1 for line in LINES)


@Model.register("counts-targets")
class CountsTargets(Model):
    """Has a loss, and remembers how many targets it saw."""

    def __init__(self, vocab: Vocabulary) -> None:
        super().__init__(vocab)
        self.scale = nn.Parameter(torch.ones(1))
        self.seen = 0

    def forward(self, batch: LanguageModelBatch) -> dict:
        self.seen += int(batch.mask.sum())
        return {"loss": self.scale.sum() * float(batch.mask.sum())}

    def get_metrics(self, reset: bool = False) -> dict:
        seen = self.seen
        if reset:
            self.seen = 0
        return {"seen": seen}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def make(path):
    def make(reader=None, **arguments):
        loader = BilmDataLoader(reader or BilmReader(), path, **{"batch_size": 3, "num_steps": 4, **arguments})
        loader.index_with(BilmVocabulary.from_text(loader.iter_instances(), max_size=9))
        return loader

    return make


def targets_of(batches):
    return [int(number) for item in batches for number in item["batch"].forward_targets[item["batch"].mask]]


def same(one, other):
    return all(map(torch.equal, [one["batch"].forward_targets], [other["batch"].forward_targets]))


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_length_is_exact_for_every_epoch(make, shuffle):
    loader = make(shuffle=shuffle)
    for epoch in range(4):
        assert loader.epoch == epoch
        assert len(loader) == len(list(loader))


def test_every_target_comes_once_an_epoch(make):
    loader = make()
    vocabulary = loader._vocabulary
    expected = sorted(
        vocabulary.get_token_index(word, "tokens") - 1 for line in LINES for word in [*line.split(), "</S>"]
    )
    assert [sorted(targets_of(loader)) for _ in range(2)] == [expected] * 2


def test_epochs_differ_and_seeds_repeat_them(make):
    one, other = make(n_negative_samples_batch=3), make(n_negative_samples_batch=3)
    first, second = list(one), list(one)
    assert targets_of(first) != targets_of(second)
    for epoch in (first, second):
        for item, again in zip(epoch, other, strict=True):
            for sample in ("forward_negatives", "backward_negatives"):
                assert torch.equal(getattr(item["batch"], sample).ids, getattr(again["batch"], sample).ids)
            assert same(item, again)
    assert targets_of(make(seed=5)) != targets_of(first)
    still = make(shuffle=False)
    assert targets_of(still) == targets_of(still)


def test_without_shuffling_every_epoch_has_the_order_of_the_text(make):
    loader = make(batch_size=1, shuffle=False)
    ids = loader._vocabulary.get_token_index
    in_order = [ids(word, "tokens") - 1 for line in LINES for word in [*line.split(), "</S>"]]
    assert [targets_of(loader) for _ in range(2)] == [in_order] * 2
    assert targets_of(make(batch_size=1, shuffle=False, seed=5)) == in_order


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
def test_all_that_batches_follow_from_is_in_the_identity(make, options, name, value):
    usual, changed = make().identity(), make(**options).identity()
    assert {key: changed[key] for key in changed if changed[key] != usual[key]} == {name: value}


def test_another_text_has_another_identity(make, path):
    usual = make().identity()
    with open(path, "a", encoding="utf-8") as file:
        file.write("one more\n")
    assert {key for key, value in make().identity().items() if value != usual[key]} == {"text (`train_data_path`)"}


def test_an_epoch_can_be_taken_up_where_it_broke_off(make):
    whole = make()
    next(iter(whole))
    second = list(whole)
    loader = make()
    loader.epoch, loader.start_window = 1, 5
    assert len(loader) == len(second) - 5
    rest = list(loader)
    assert all(map(same, rest, second[5:])) and len(rest) == len(second) - 5
    assert (loader.epoch, loader.start_window) == (2, 0)
    loader.start_window = 10**6
    assert len(loader) == len(list(loader)) == 0


def test_the_length_taken_after_the_iterator_is_still_that_of_its_epoch(make):
    # As AllenNLP's trainer does
    loader = make(batch_size=2, num_steps=1)
    for _ in range(3):
        batches = iter(loader)
        length = len(loader)
        assert length == len(list(batches))


def test_negatives_come_from_the_vocabulary(make):
    loader = make(n_negative_samples_batch=8)
    ids = {int(number) for item in loader for number in item["batch"].forward_negatives.ids}
    # 9 entries: AllenNLP's padding is none of them
    assert ids == set(range(9))
    assert next(iter(make(n_negative_samples_batch=9)))["batch"].forward_negatives is None


def test_batches_are_moved_to_the_device(make):
    loader = make(n_negative_samples_batch=3)
    loader.set_target_device(torch.device("meta"))
    batch = next(iter(loader))["batch"]
    assert isinstance(batch, LanguageModelBatch)
    for tensor in (batch.characters, batch.forward_inputs, batch.lengths, batch.mask, batch.forward_negatives.ids):
        assert tensor.device.type == "meta"
    assert batch.batch_sizes == [3] * 4


def test_leaving_an_epoch_early_leaves_no_thread(make):
    for _ in make():
        break
    assert not [thread for thread in threading.enumerate() if thread.name == "bilm-prefetch"]


def test_options_of_the_reader_hold(make, path):
    loader = make(BilmReader(max_instances=3), shuffle=False)
    assert len(targets_of(loader)) == sum(len(line.split()) + 1 for line in LINES[:3])
    narrow = BilmReader({"characters": BilmCharactersIndexer(max_characters_per_token=6)})
    assert next(iter(make(narrow)))["batch"].characters.shape[1] == 6
    with open(path, "ab") as file:
        file.write(b"\xff\n")
    with pytest.raises(InputError, match="is not UTF-8"):
        make()
    assert len(targets_of(make(BilmReader(encoding_errors="replace")))) == NUM_TARGETS + 2


def test_the_text_is_kept_where_asked(make, tmp_path):
    kept, serialization_dir = tmp_path / "kept", tmp_path / "run"
    len(make(cache_directory=str(kept), serialization_dir=str(serialization_dir)))
    assert kept.is_dir() and not serialization_dir.exists()
    len(make(serialization_dir=str(serialization_dir)))
    assert list((serialization_dir / "encoded_text").iterdir())
    assert "bilm-corpus-" in str(make()._encoded().directory)


def test_the_text_is_not_read_before_it_is_needed(tmp_path):
    BilmDataLoader(BilmReader(), str(tmp_path / "absent"), batch_size=2)


def test_misuse_is_refused(make, path):
    with pytest.raises(ConfigurationError, match='needs the dataset reader "bilm", got a SequenceTaggingDatasetReader'):
        BilmDataLoader(SequenceTaggingDatasetReader(), path, batch_size=2)
    for name, value, least in (
        ("batch_size", 0, 1),
        ("num_steps", 0, 1),
        ("seed", -1, 0),
        ("n_negative_samples_batch", 0, 1),
    ):
        with pytest.raises(ConfigurationError, match=f"`{name}` must be at least {least}, got {value}"):
            make(**{name: value})
    with pytest.raises(ConfigurationError, match="needs `index_with` to be called"):
        next(iter(BilmDataLoader(BilmReader(), path, batch_size=2)))
    widths = {name: BilmCharactersIndexer(width) for name, width in (("a", 10), ("b", 50))}
    with pytest.raises(ConfigurationError, match=r"must be the same in all indexers, got \[10, 50\]"):
        next(iter(make(BilmReader(widths))))
    plain = make()
    plain.index_with(Vocabulary())
    with pytest.raises(InputError, match="lacks <S>, </S>, <UNK>"):
        next(iter(plain))


def streams_of(loader):
    """What each lane reads, and the negatives of each batch."""
    batches = [batch["batch"] for batch in loader]
    lanes = [[] for _ in batches[0].lengths]
    for batch in batches:
        for row, length in enumerate(batch.lengths.tolist()):
            lanes[row] += batch.forward_targets[row, :length].tolist()
    return lanes, [batch.forward_negatives.ids.tolist() for batch in batches]


def as_process(monkeypatch, rank, num_processes):
    monkeypatch.setattr(
        "allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader.world", lambda: World(rank, num_processes)
    )


@pytest.mark.parametrize("num_processes", [2, 3, 40])
@pytest.mark.parametrize("shared", [True, False])
def test_processes_share_the_lanes_of_one(make, monkeypatch, num_processes, shared):
    """Forty processes have more lanes than the text has sentences."""
    options = {"n_negative_samples_batch": 4, "shared_negatives": shared}
    lanes, negatives = streams_of(make(batch_size=2 * num_processes, **options))
    for rank in range(num_processes):
        as_process(monkeypatch, rank, num_processes)
        loader = make(batch_size=2, **options)
        assert len(loader) == len(negatives)
        own_lanes, own_negatives = streams_of(loader)
        assert own_lanes == lanes[rank::num_processes]
        # Process 0 draws what a single one would.
        assert (own_negatives == negatives) == (shared or rank == 0)


def test_held_out_text_is_not_shared_out(make, monkeypatch):
    options = {"shuffle": False, "n_negative_samples_batch": 4}
    expected = streams_of(make(**options))
    as_process(monkeypatch, 1, 2)
    with torch.no_grad():
        loader = make(**options)
        assert len(loader) == len(expected[1])
        assert streams_of(loader) == expected
    assert streams_of(make(**options)) != expected


def test_counting_words_leaves_the_text_where_training_looks_for_it(path, tmp_path, monkeypatch):
    encoded = []
    encode_text = corpus_cache.encode_text
    monkeypatch.setattr(corpus_cache, "encode_text", lambda *given: encoded.append(given[0]) or encode_text(*given))
    run = str(tmp_path / "run")
    # As AllenNLP does before it starts processes, and in each of them.
    list(BilmDataLoader(BilmReader(serialization_dir=run), path, 2).iter_instances())
    len(BilmDataLoader(BilmReader(serialization_dir=run), path, 2, serialization_dir=run))
    assert encoded == [path]


def test_trains_and_evaluates_under_allennlp(path, tmp_path, monkeypatch):
    encoded = []
    encode_text = corpus_cache.encode_text
    monkeypatch.setattr(corpus_cache, "encode_text", lambda *given: encoded.append(given[0]) or encode_text(*given))
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
    assert metrics["training_seen"] == metrics["validation_seen"] == metrics["test_seen"] == NUM_TARGETS
    # `serialization_dir` reached the loader, and its three texts are one.
    assert encoded == [path] and (run / "encoded_text").is_dir()

    archive = load_archive(str(run))
    params = archive.config["data_loader"]
    params["batch_size"] = 5
    loader = DataLoader.from_params(params=params, reader=archive.validation_dataset_reader, data_path=path)
    loader.index_with(archive.model.vocab)
    assert loader.batch_size == 5 and len(targets_of(loader)) == NUM_TARGETS
