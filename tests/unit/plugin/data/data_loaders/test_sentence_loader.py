"""The data loader `bilm_sentences`, whose batches are whole sentences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data.data_loaders import SimpleDataLoader
from allennlp.models.archival import load_archive

from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import NUM_LANES
from allennlp_elmo_plus.plugin.data.data_loaders.sentence_loader import BilmSentenceLoader
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.models.model_inputs import batch_of_source
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from allennlp_elmo_plus.training.distributed.sparse_gradients import is_excluded_from_ddp
from tests.helpers.bilm_data import BilmData, make_data, make_loader, make_model
from tests.helpers.exported_bilm import ids_of
from tests.helpers.small_models import RECURRENCES
from tests.helpers.small_text import (
    SENTENCES,
    small_config,
)

TEXT = [*SENTENCES, [], ["rain"]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> BilmData:
    return make_data(tmp_path_factory.mktemp("text"), TEXT)


def make_sentence_loader(data: BilmData, **options: Any) -> BilmSentenceLoader:
    loader = make_loader(data, **{"type": "bilm_sentences", "batch_tokens": 30, **options})
    assert isinstance(loader, BilmSentenceLoader)
    return loader


def test_every_target_occurs_once_per_epoch_in_each_direction(data: BilmData) -> None:
    vocabulary, loader = data.vocabulary, make_sentence_loader(data)
    ids = [[vocabulary.get_token_index(word, "tokens") - 1 for word in sentence] for sentence in TEXT]
    bos, eos = (vocabulary.get_token_index(word, "tokens") - 1 for word in ("<S>", "</S>"))
    for _ in range(2):
        targets: dict[str, list[list[int]]] = {"forward_targets": [], "backward_targets": []}
        assert len(loader) == len(batches := list(loader))
        for item in batches:
            batch = item["batch"]
            assert batch.forward_inputs.numel() <= 30 and not batch.carries_state
            for name, sentences in targets.items():
                for row, length in zip(getattr(batch, name), batch.lengths):
                    sentences.append(row[:length].tolist())
        assert sorted(targets["forward_targets"]) == sorted([*sentence, eos] for sentence in ids)
        assert sorted(targets["backward_targets"]) == sorted([*sentence[::-1], bos] for sentence in ids)


@pytest.mark.parametrize(
    "recurrence, batch_tokens",
    [*((recurrence, 30) for recurrence in RECURRENCES), ("lstm, projected", 1), ("lstm, projected", 999)],
)
def test_the_perplexity_is_that_of_batches_of_one_sentence(data: BilmData, recurrence: str, batch_tokens: int) -> None:
    model = make_model(data.vocabulary, lstm=RECURRENCES[recurrence]).double().eval()
    for batch in make_sentence_loader(data, batch_tokens=batch_tokens):
        model(**batch)
    together = model.get_metrics(reset=True)
    for batch in SimpleDataLoader(list(data.reader.read(str(data.path))), batch_size=1, vocab=data.vocabulary):
        model(**batch)
    for name, expected in model.get_metrics(reset=True).items():
        if "perplexity" in name:
            assert together[name] == pytest.approx(expected, rel=1e-12)


def test_no_state_is_carried_between_batches(data: BilmData) -> None:
    model = make_model(data.vocabulary, dropout=0.0).double()
    first, second = list(make_sentence_loader(data, shuffle=False, n_negative_samples_batch=10))[:2]
    alone = model(**second)["loss"].item()
    model(**first)
    assert model(**second)["loss"].item() == alone and model.state_to_resume()["lstm"] is None


def test_negatives_depend_on_the_seed_and_the_batch(data: BilmData) -> None:
    def negatives(**options: Any) -> list[list[int]]:
        return [item["batch"].forward_negatives.ids.tolist() for item in make_sentence_loader(data, **options)]

    first = negatives(n_negative_samples_batch=10)
    assert first == negatives(n_negative_samples_batch=10) != negatives(n_negative_samples_batch=10, seed=5)
    assert len({tuple(ids) for ids in first}) > 1
    assert all(item["batch"].forward_negatives is None for item in make_sentence_loader(data))


def test_fast_forward_skips_the_finished_batches_of_an_interrupted_epoch(data: BilmData) -> None:
    uninterrupted = make_sentence_loader(data)
    list(uninterrupted)
    expected = [item["batch"].forward_targets for item in uninterrupted]
    loader = make_sentence_loader(data)
    loader.fast_forward(1, 3)
    assert all(item == {} for item in loader)
    epoch = list(loader)
    assert epoch[:3] == [{}, {}, {}] and len(epoch) == len(expected)
    assert all(torch.equal(item["batch"].forward_targets, targets) for item, targets in zip(epoch[3:], expected[3:]))


def test_processes_share_the_batches_and_negatives_of_a_single_process(
    data: BilmData, set_process: Callable[[int, int], None]
) -> None:
    def batches(**options: Any) -> list[tuple[Any, Any]]:
        loader = make_sentence_loader(data, n_negative_samples_batch=10)
        if options:
            loader.fast_forward(**options)
        assert len(loader) == len(epoch := list(loader))
        return [
            (item["batch"].forward_targets.tolist(), item["batch"].forward_negatives.ids.tolist())
            for item in epoch
            if item
        ]

    expected = batches()
    assert len(expected) % 2 == 1
    by_rank = []
    for rank in range(2):
        set_process(rank, 2)
        by_rank.append(batches())
        assert batches(num_epochs=0, num_batches=2) == by_rank[rank][2:]
    # The last batch of process 1 has no sentence.
    assert [*by_rank[0], *by_rank[1][:-1]] == [*expected[::2], *expected[1::2]] and by_rank[1][-1][0] == [[0]]
    with torch.no_grad():
        assert batches() == expected


@pytest.mark.parametrize("sample_softmax", [True, False])
def test_a_batch_without_sentences_has_a_gradient_of_zeros(
    data: BilmData, set_process: Callable[[int, int], None], sample_softmax: bool
) -> None:
    model = make_model(data.vocabulary, dropout=0.0, sample_softmax=sample_softmax).double()
    set_process(1, 2)
    *_, empty = make_sentence_loader(data, n_negative_samples_batch=10)
    assert empty["batch"].batch_sizes == []
    loss = model(**empty)["loss"]
    loss.backward()
    assert loss.item() == 0
    dense = [param for param in model.parameters() if not is_excluded_from_ddp(param)]
    assert dense and all((param.grad == 0).all() for param in dense)
    assert all(param.grad is None or param.grad.to_dense().eq(0).all() for param in model.parameters())


def test_the_identity_has_the_options_of_this_loader(data: BilmData, set_process: Callable[[int, int], None]) -> None:
    identity = make_sentence_loader(data).identity()
    assert identity["`batch_tokens`"] == 30 and identity["number of processes"] == 1
    set_process(0, 3)
    identity = make_sentence_loader(data).identity()
    assert identity["number of processes"] == 3
    assert not {NUM_LANES, "`num_steps`"} & set(identity)


def test_wrong_options_are_refused(data: BilmData) -> None:
    with pytest.raises(ConfigurationError, match="`batch_tokens` must be at least 1, got 0"):
        make_sentence_loader(data, batch_tokens=0)
    with pytest.raises(ConfigurationError, match="has no option `batch_size`: did you mean `batch_tokens`"):
        make_sentence_loader(data, batch_size=3)


def test_a_gru_trained_on_sentences_is_embedded_from_its_archive(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    config["model"]["lstm"] |= {"cell": "gru", "cell_clip": None}
    loader = {"type": "bilm_sentences", "batch_tokens": 25}
    config["data_loader"] = {**loader, "n_negative_samples_batch": 10}
    config["validation_data_loader"] = {**loader, "shuffle": False}
    config["trainer"]["callbacks"] = [{"type": "bilm"}]
    train_model(Params(config), str(tmp_path / "out"))
    path = str(tmp_path / "out" / "model.tar.gz")
    archive = load_archive(path)
    model, sentence = archive.model.eval(), ["the", "river", "rises"]
    assert isinstance(model, BilmModel) and model.options.lstm.cell == "gru" and model.find_leaks() == []
    embedder = BilmTokenEmbedder(archive_file=path, use_top_only=True).eval()
    vectors = embedder(ids_of([sentence, ["rain"]]))
    instance = archive.dataset_reader.text_to_instance(sentence)
    archive.dataset_reader.apply_token_indexers(instance)
    (batch,) = SimpleDataLoader([instance], batch_size=1, vocab=model.vocab)
    with torch.no_grad():
        top = model.language_model(batch_of_source(batch["source"], takes_characters=True))
    # The forward direction reads `<S> the river rises`. The vector of a word is the output after the word.
    torch.testing.assert_close(vectors[0, :, :8], top.forward[1:], rtol=0, atol=1e-6)
