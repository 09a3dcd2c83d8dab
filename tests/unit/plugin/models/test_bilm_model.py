"""The model `bilm`: losses, metrics, carried state and options."""

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.data.data_loaders import SimpleDataLoader

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.options.bilm_options import option_keys
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from tests.helpers.bilm_data import BilmData, make_data, make_loader, make_model
from tests.helpers.small_models import RECURRENCES
from tests.helpers.small_text import SENTENCES, write_text


@pytest.fixture
def data(tmp_path: Path) -> BilmData:
    return make_data(tmp_path, SENTENCES)


def make_float64_model(data: BilmData, **overrides: Any) -> BilmModel:
    return make_model(data.vocabulary, **overrides).double()


def test_evaluation_counts_every_token_once_for_every_number_of_lanes(data: BilmData) -> None:
    model = make_float64_model(data).eval()
    num_targets = sum(len(sentence) + 1 for sentence in SENTENCES)
    perplexities = []
    for batch_size in (1, 3, 40):
        model.eval()
        num_counted = 0
        for batch in make_loader(data, batch_size=batch_size, shuffle=False):
            model(**batch)
            num_counted += sum(batch["batch"].batch_sizes)
        assert num_counted == num_targets
        perplexities.append(model.get_metrics(reset=True))
    assert set(perplexities[0]) == {"perplexity", "forward_perplexity", "backward_perplexity", "tokens_per_second"}
    for metrics in perplexities:
        expected = math.sqrt(metrics["forward_perplexity"] * metrics["backward_perplexity"])
        assert metrics["perplexity"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("surplus, is_sampled", [(-1, True), (0, False), (5000, False)])
def test_the_softmax_is_full_where_the_samples_would_be_all_words(
    data: BilmData, surplus: int, is_sampled: bool
) -> None:
    num_samples = len({word for sentence in SENTENCES for word in sentence}) + 3 + surplus
    batch = next(iter(make_loader(data, n_negative_samples_batch=num_samples)))
    assert (batch["batch"].forward_negatives is not None) == is_sampled
    model = make_float64_model(data, n_negative_samples_batch=num_samples, dropout=0.0)
    full_model = make_float64_model(data, sample_softmax=False, dropout=0.0)
    full_model.load_state_dict(model.state_dict())
    loss, full_loss = (any_model(**batch)["loss"].item() for any_model in (model, full_model))
    assert (loss == full_loss) != is_sampled
    assert model.options.sample_softmax == is_sampled
    assert ("perplexity" in model.get_metrics()) != is_sampled


def test_evaluation_starts_from_a_state_of_zeros_and_carries_it_to_the_next_batch(data: BilmData) -> None:
    model = make_float64_model(data)
    losses_of_runs = []
    for _ in range(2):
        model.train()
        for batch in make_loader(data):
            model(**batch)
        model.eval()
        losses_of_runs.append([model(**batch)["loss"].item() for batch in make_loader(data, shuffle=False)])
    assert losses_of_runs[0] == losses_of_runs[1]
    batches = list(make_loader(data, shuffle=False))
    model.eval()
    loss_from_zeros = model(**batches[1])["loss"].item()
    assert loss_from_zeros != losses_of_runs[0][1]


def test_a_validation_does_not_change_the_state_of_training(data: BilmData) -> None:
    losses = []
    for validate in (False, True):
        model = make_float64_model(data, dropout=0.0)
        batches = list(make_loader(data, n_negative_samples_batch=10))
        model(**batches[0])
        if validate:
            model.eval()
            model(**batches[0])
            model.train()
        losses.append(model(**batches[1])["loss"].item())
    assert losses[0] == losses[1]
    model.reset_states()
    assert model(**batches[1])["loss"].item() != losses[0]


def test_training_with_the_sampled_softmax_reports_a_sampled_perplexity(data: BilmData) -> None:
    model = make_float64_model(data)
    model(**next(iter(make_loader(data))))
    assert set(model.get_metrics(reset=True)) == {
        "sampled_perplexity", "forward_sampled_perplexity", "backward_sampled_perplexity", "tokens_per_second"
    }  # fmt: skip
    exact = make_float64_model(data, sample_softmax=False)
    exact(**next(iter(make_loader(data))))
    assert "perplexity" in exact.get_metrics()


def test_the_gradient_is_multiplied_by_unroll_steps(data: BilmData) -> None:
    gradients = []
    batch = next(iter(make_loader(data)))
    for unroll_steps in (1, 20):
        model = make_float64_model(data, sample_softmax=False, dropout=0.0, unroll_steps=unroll_steps)
        output = model(**batch)
        output["loss"].backward()
        gradients.append(model.language_model.softmax.bias.grad)
    torch.testing.assert_close(gradients[1], 20 * gradients[0])


@pytest.mark.parametrize("sample_softmax", [True, False])
def test_the_loss_of_a_window_is_the_mean_over_its_targets(data: BilmData, sample_softmax: bool) -> None:
    """In the last windows some lanes have ended. Their gradient is still divided by all positions, as that of every window."""
    model = make_float64_model(data, sample_softmax=sample_softmax, dropout=0.0, unroll_steps=7)
    num_full, num_partial = 0, 0
    for batch in make_loader(data, batch_size=5, n_negative_samples_batch=10):
        window = batch["batch"]
        state = model.state_to_resume()
        model.zero_grad()
        loss = model(**batch)["loss"]
        loss.backward()
        gradients = {name: param.grad.to_dense() for name, param in model.named_parameters()}
        num_full += bool(window.mask.all())
        num_partial += not window.mask.all()

        model.resume(state)
        if sample_softmax:
            negatives = window.forward_negatives, window.backward_negatives
            result = model.language_model.sampled_loss(window, negatives, model._carried_state.training)
            total = result.forward_nll_sum + result.backward_nll_sum
        else:
            exact = model.language_model.exact_loss(window, model._carried_state.training)
            total = exact.forward_nll.sum() + exact.backward_nll.sum()
        model._carried_state.training = result.state.detach() if sample_softmax else exact.state.detach()
        assert loss.item() == pytest.approx((total / (2 * window.mask.sum())).item(), rel=1e-12)
        model.zero_grad()
        (7 * total / (2 * window.mask.numel())).backward()
        for name, param in model.named_parameters():
            torch.testing.assert_close(gradients[name], param.grad.to_dense(), rtol=1e-10, atol=1e-14)
    assert num_full and num_partial > 1


def test_the_carried_state_is_not_in_the_state_dict(data: BilmData) -> None:
    model = make_float64_model(data)
    names = set(model.state_dict())
    model(**next(iter(make_loader(data))))
    assert set(model.state_dict()) == names and not list(model.buffers())


def test_instances_of_allennlps_loader_have_the_loss_of_a_lane_with_one_sentence(data: BilmData) -> None:
    reader, vocabulary, path = data
    model = make_float64_model(data).eval()
    write_text(path, SENTENCES[:1])
    for batch in make_loader(data, batch_size=1, num_steps=30, shuffle=False):
        expected = model(**batch)["loss"].item()
    loader = SimpleDataLoader(list(reader.read(str(path))), batch_size=1, vocab=vocabulary)
    (batch,) = list(loader)
    assert model(**batch)["loss"].item() == pytest.approx(expected, rel=1e-12)


def test_a_batch_of_another_number_of_lanes_is_refused(data: BilmData) -> None:
    model = make_float64_model(data)
    model(**next(iter(make_loader(data))))
    with pytest.raises(ConfigurationError, match="carried state has 3 lanes, got a batch of 2"):
        model(**next(iter(make_loader(data, batch_size=2))))


@pytest.mark.parametrize(
    "overrides, error, message",
    [
        ({"droput": 0.1}, ConfigurationError, "BilmModel has no option `droput`: did you mean `dropout`\\?"),
        ({"lstm": {"dim": 8, "projektion_dim": 4}}, InputError, "`lstm.projection_dim`"),
        ({"exact_chunk_size": 0}, ConfigurationError, "`exact_chunk_size` must be at least 1, got 0"),
        ({"n_tokens_vocab": 7}, InputError, "`n_tokens_vocab` must be"),
    ],
)
def test_options_out_of_range_are_refused(data: BilmData, overrides: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make_float64_model(data, **overrides)


def test_another_number_of_negatives_than_in_the_model_is_refused(data: BilmData) -> None:
    model = make_float64_model(data)
    with pytest.raises(ConfigurationError, match="the same in the model and the data loader, got 10 and 7"):
        model(**next(iter(make_loader(data, n_negative_samples_batch=7))))


def test_another_vocabulary_is_refused(data: BilmData) -> None:
    plain = Vocabulary(tokens_to_add={"tokens": ["the", "river"]})
    with pytest.raises(ConfigurationError, match='the model "bilm" needs the vocabulary "bilm": '):
        make_model(plain)
    model = make_model(data.vocabulary)
    model.extend_embedder_vocab()
    data.vocabulary.add_token_to_namespace("windmill")
    num_words = len(model.language_model.softmax.bias)
    with pytest.raises(
        ConfigurationError, match=f"must have the {num_words} words of its softmax, got {num_words + 1}"
    ):
        model.extend_embedder_vocab()


def test_a_call_without_a_batch_is_refused(data: BilmData) -> None:
    with pytest.raises(ConfigurationError, match="exactly one of `batch` and `source` must be given"):
        make_float64_model(data)()


def test_all_keys_of_bilm_tfs_options_json_are_accepted(data: BilmData) -> None:
    model = make_float64_model(
        data, n_epochs=10, n_train_tokens=1000, batch_size=128, all_clip_norm_val=10.0, learning_rate=0.2
    )
    assert model.options.to_dict(inference=False)["n_train_tokens"] == 1000


def test_every_option_is_an_argument() -> None:
    assert {key.partition(".")[0] for key in option_keys()} <= set(inspect.signature(BilmModel).parameters)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_every_recurrence_learns_without_a_leak(data: BilmData, recurrence: str) -> None:
    # Models without projection are bidirectional, models with a projection read forward only.
    torch.manual_seed(0)
    model = make_float64_model(
        data, lstm=RECURRENCES[recurrence], bidirectional="not projected" in recurrence, sample_softmax=False
    )
    assert model.find_leaks() == []
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)
    (batch,) = make_loader(data, batch_size=4, num_steps=60, shuffle=False)
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
def test_every_recurrence_carries_its_state_which_can_be_saved_and_resumed(data: BilmData, recurrence: str) -> None:
    first, second = list(make_loader(data, n_negative_samples_batch=10))[:2]
    model, resumed = (make_float64_model(data, lstm=RECURRENCES[recurrence], dropout=0.0) for _ in range(2))
    model(**first)
    resumed.resume(model.state_to_resume())
    loss = model(**second)["loss"].item()
    assert resumed(**second)["loss"].item() == loss
    model.reset_states()
    assert model(**second)["loss"].item() != loss
