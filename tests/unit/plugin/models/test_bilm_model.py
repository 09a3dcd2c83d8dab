"""The model `bilm` behind AllenNLP's interface."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DataLoader, DatasetReader, Vocabulary
from allennlp.data.data_loaders import SimpleDataLoader
from allennlp.models import Model

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from tests.helpers.small_models import RECURRENCES
from tests.helpers.small_text import SENTENCES, small_model_config, write_text


@pytest.fixture
def parts(tmp_path: Path) -> tuple[DatasetReader, Vocabulary, Path]:
    reader = DatasetReader.from_params(Params({"type": "bilm"}))
    path = write_text(tmp_path / "text.txt", SENTENCES)
    vocabulary = Vocabulary.from_params(Params({"type": "bilm"}), instances=reader.read(str(path)))
    return reader, vocabulary, path


def make_model(vocabulary: Vocabulary, **overrides: Any) -> BilmModel:
    torch.manual_seed(0)
    model = Model.from_params(Params({**small_model_config(), **overrides}), vocab=vocabulary)
    assert isinstance(model, BilmModel)
    return model.double()


def lanes(parts: tuple[DatasetReader, Vocabulary, Path], **options: Any) -> DataLoader:
    reader, vocabulary, path = parts
    params = Params({"type": "bilm", "batch_size": 3, "num_steps": 5, **options})
    loader = DataLoader.from_params(params, reader=reader, data_path=str(path))
    loader.index_with(vocabulary)
    return loader


def test_evaluation_counts_every_token_once(parts) -> None:
    """Whatever the number of lanes: one lane is one long text, and many lanes only differ in what state a lane starts from."""
    model = make_model(parts[1]).eval()
    num_targets = sum(len(sentence) + 1 for sentence in SENTENCES)
    perplexities = []
    for batch_size in (1, 3, 40):
        model.eval()
        counted = 0
        for batch in lanes(parts, batch_size=batch_size, shuffle=False):
            model(**batch)
            counted += sum(batch["batch"].batch_sizes)
        assert counted == num_targets
        perplexities.append(model.get_metrics(reset=True))
    assert set(perplexities[0]) == {"perplexity", "forward_perplexity", "backward_perplexity", "tokens_per_second"}
    for metrics in perplexities:
        expected = math.sqrt(metrics["forward_perplexity"] * metrics["backward_perplexity"])
        assert metrics["perplexity"] == pytest.approx(expected, rel=1e-12)


def test_evaluation_starts_from_zero_each_time_and_carries_within(parts) -> None:
    model = make_model(parts[1])
    figures = []
    for _ in range(2):
        model.train()
        for batch in lanes(parts):
            model(**batch)
        model.eval()
        losses = [model(**batch)["loss"].item() for batch in lanes(parts, shuffle=False)]
        figures.append(losses)
    assert figures[0] == figures[1]
    batches = list(lanes(parts, shuffle=False))
    model.eval()
    fresh = model(**batches[1])["loss"].item()
    assert fresh != figures[0][1]


def test_training_state_survives_validation(parts) -> None:
    """A validation pass in the middle leaves the next training batch as it would have been."""
    losses = []
    for validate in (False, True):
        model = make_model(parts[1], dropout=0.0)
        batches = list(lanes(parts, n_negative_samples_batch=10))
        model(**batches[0])
        if validate:
            model.eval()
            model(**batches[0])
            model.train()
        losses.append(model(**batches[1])["loss"].item())
    assert losses[0] == losses[1]
    model.reset_states()
    assert model(**batches[1])["loss"].item() != losses[0]


def test_training_reports_a_sampled_figure_and_never_perplexity(parts) -> None:
    model = make_model(parts[1])
    model(**next(iter(lanes(parts))))
    assert set(model.get_metrics(reset=True)) == {
        "sampled_perplexity", "forward_sampled_perplexity", "backward_sampled_perplexity", "tokens_per_second"
    }  # fmt: skip
    exact = make_model(parts[1], sample_softmax=False)
    exact(**next(iter(lanes(parts))))
    assert "perplexity" in exact.get_metrics()


def test_gradient_is_unroll_steps_times_that_of_the_loss(parts) -> None:
    gradients = []
    batch = next(iter(lanes(parts)))
    for unroll_steps in (1, 20):
        model = make_model(parts[1], sample_softmax=False, dropout=0.0, unroll_steps=unroll_steps)
        output = model(**batch)
        output["loss"].backward()
        gradients.append(model.language_model.softmax.bias.grad)
    torch.testing.assert_close(gradients[1], 20 * gradients[0])


@pytest.mark.parametrize("sample_softmax", [True, False])
def test_the_loss_of_a_window_is_the_mean_over_its_targets(parts, sample_softmax: bool) -> None:
    """Of the last windows of an epoch too, in which some lanes have ended; so is its gradient, times `unroll_steps`."""
    model = make_model(parts[1], sample_softmax=sample_softmax, dropout=0.0, unroll_steps=7)
    full, ragged = 0, 0
    for batch in lanes(parts, batch_size=5, n_negative_samples_batch=10):
        window = batch["batch"]
        state = model.state_to_resume()
        model.zero_grad()
        loss = model(**batch)["loss"]
        loss.backward()
        found = {name: each.grad.to_dense() for name, each in model.named_parameters()}
        full += bool(window.mask.all())
        ragged += not window.mask.all()

        model.resume(state)
        if sample_softmax:
            negatives = window.forward_negatives, window.backward_negatives
            result = model.language_model.sampled_loss(window, negatives, model._carried_state.training)
            total = result.forward_nll_sum + result.backward_nll_sum
        else:
            exact = model.language_model.exact_loss(window, model._carried_state.training)
            total = exact.forward_nll.sum() + exact.backward_nll.sum()
        model._carried_state.training = result.state.detach() if sample_softmax else exact.state.detach()
        mean = total / (2 * window.mask.sum())
        assert loss.item() == pytest.approx(mean.item(), rel=1e-12)
        model.zero_grad()
        (7 * mean).backward()
        for name, each in model.named_parameters():
            torch.testing.assert_close(found[name], each.grad.to_dense(), rtol=1e-10, atol=1e-14)
    assert full and ragged > 1


def test_state_is_no_part_of_the_weights(parts) -> None:
    model = make_model(parts[1])
    names = set(model.state_dict())
    model(**next(iter(lanes(parts))))
    assert set(model.state_dict()) == names and not list(model.buffers())


def test_other_loaders_and_lanes_of_one_sentence_agree(parts) -> None:
    """The reader's instances through a plain loader give the loss that a single lane gives a single sentence."""
    reader, vocabulary, path = parts
    model = make_model(vocabulary).eval()
    write_text(path, SENTENCES[:1])
    for batch in lanes(parts, batch_size=1, num_steps=30, shuffle=False):
        expected = model(**batch)["loss"].item()
    loader = SimpleDataLoader(list(reader.read(str(path))), batch_size=1, vocab=vocabulary)
    (batch,) = list(loader)
    assert model(**batch)["loss"].item() == pytest.approx(expected, rel=1e-12)


def test_a_text_in_other_lanes_needs_a_reset(parts) -> None:
    model = make_model(parts[1])
    model(**next(iter(lanes(parts))))
    with pytest.raises(ConfigurationError, match="carried state has 3 lanes, got a batch of 2"):
        model(**next(iter(lanes(parts, batch_size=2))))


@pytest.mark.parametrize(
    "overrides, error, message",
    [
        ({"droput": 0.1}, ConfigurationError, "BilmModel has no option `droput`: did you mean `dropout`\\?"),
        ({"lstm": {"dim": 8, "projektion_dim": 4}}, InputError, "`lstm.projection_dim`"),
        ({"exact_chunk_size": 0}, ConfigurationError, "`exact_chunk_size` must be at least 1, got 0"),
        ({"n_tokens_vocab": 7}, InputError, "`n_tokens_vocab` must be"),
    ],
)
def test_bad_options(parts, overrides: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make_model(parts[1], **overrides)


@pytest.mark.parametrize("surplus, is_sampled", [(-1, True), (0, False), (5000, False)])
def test_the_softmax_is_full_where_the_samples_are_all_words(parts, surplus: int, is_sampled: bool) -> None:
    num_samples = len({word for sentence in SENTENCES for word in sentence}) + 3 + surplus
    (batch, *_) = lanes(parts, n_negative_samples_batch=num_samples)
    assert (batch["batch"].forward_negatives is not None) == is_sampled
    sampled_by_default = make_model(parts[1], n_negative_samples_batch=num_samples, dropout=0.0)
    full = make_model(parts[1], sample_softmax=False, dropout=0.0)
    losses = [model(**batch)["loss"].item() for model in (sampled_by_default, full)]
    assert (losses[0] == losses[1]) != is_sampled
    assert sampled_by_default.options.sample_softmax == is_sampled
    assert ("perplexity" in sampled_by_default.get_metrics()) != is_sampled


def test_negatives_of_another_number_are_refused(parts) -> None:
    model = make_model(parts[1])
    with pytest.raises(ConfigurationError, match="the same in the model and the data loader, got 10 and 7"):
        model(**next(iter(lanes(parts, n_negative_samples_batch=7))))


def test_needs_one_kind_of_batch(parts) -> None:
    with pytest.raises(ConfigurationError, match="exactly one of `batch` and `source` must be given"):
        make_model(parts[1])()


def test_options_json_is_accepted_whole(parts) -> None:
    model = make_model(
        parts[1], n_epochs=10, n_train_tokens=1000, batch_size=128, all_clip_norm_val=10.0, learning_rate=0.2
    )
    assert model.options.to_dict(inference=False)["n_train_tokens"] == 1000


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_every_recurrence_learns_without_a_leak(parts, recurrence: str) -> None:
    # Either way of reading, with either way of projecting.
    torch.manual_seed(0)
    model = make_model(
        parts[1], lstm=RECURRENCES[recurrence], bidirectional="not projected" in recurrence, sample_softmax=False
    )
    assert model.find_leaks() == []
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)
    (batch,) = lanes(parts, batch_size=4, num_steps=60, shuffle=False)
    losses = []
    for _ in range(25):
        model.reset_states()
        optimizer.zero_grad()
        loss = model(**batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0] and model.find_leaks() == []


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_every_recurrence_carries_its_state_on_and_can_be_taken_up(parts, recurrence: str) -> None:
    first, second = list(lanes(parts, n_negative_samples_batch=10))[:2]
    model, taken_up = (make_model(parts[1], lstm=RECURRENCES[recurrence], dropout=0.0) for _ in range(2))
    model(**first)
    taken_up.resume(model.state_to_resume())
    loss = model(**second)["loss"].item()
    assert taken_up(**second)["loss"].item() == loss
    model.reset_states()
    assert model(**second)["loss"].item() != loss
