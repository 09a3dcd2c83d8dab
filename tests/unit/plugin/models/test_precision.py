"""The model with `precision: "bf16"`, compared with the same model in float32."""

from typing import Any

import pytest
import torch
from allennlp.data import Vocabulary

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.softmax import sampled_softmax
from tests.helpers.bfloat16 import use_bfloat16
from tests.helpers.bilm_data import make_data, make_loader, make_model
from tests.helpers.small_text import SENTENCES


@pytest.fixture(autouse=True)
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    use_bfloat16(monkeypatch)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Vocabulary, list[dict[str, Any]]]:
    data = make_data(tmp_path_factory.mktemp("text"), SENTENCES)
    return data.vocabulary, list(make_loader(data, n_negative_samples_batch=10))


@pytest.fixture
def types_of_softmax(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Return a list that grows by the dtype of the hidden states of each sampled softmax."""
    dtypes: list[torch.dtype] = []

    def recorded(compute):
        return lambda hidden, *rest: dtypes.append(hidden.dtype) or compute(hidden, *rest)

    for name in ("_numba_nll_and_gradients", "_torch_nll_and_gradients"):
        monkeypatch.setattr(sampled_softmax, name, recorded(getattr(sampled_softmax, name)))
    return dtypes


@pytest.mark.parametrize("word_input", [False, True])
def test_losses_and_gradients_are_near_those_of_float32(batches, types_of_softmax, word_input: bool) -> None:
    vocabulary, windows = batches
    options = {"char_cnn": None} if word_input else {}
    in_fp32, in_bf16 = (
        make_model(vocabulary, dropout=0.0, **options),
        make_model(vocabulary, dropout=0.0, precision="bf16", **options),
    )
    # With weights as small as the initial ones, the two losses differ by a few units in the last place, or by chance not at all.
    for parameter in (*in_fp32.parameters(), *in_bf16.parameters()):
        parameter.data.mul_(2)
    for window in windows:
        expected, ours = in_fp32(**window)["loss"], in_bf16(**window)["loss"]
        assert ours.dtype == torch.float32 and ours != expected
        torch.testing.assert_close(ours, expected, rtol=1e-2, atol=0)
        expected.backward()
        ours.backward()
    assert types_of_softmax[:4] == [torch.float32] * 2 + [torch.bfloat16] * 2
    for (name, ours), theirs in zip(in_bf16.named_parameters(), in_fp32.parameters()):
        assert ours.grad.dtype == ours.dtype == torch.float32
        difference = (ours.grad.to_dense() - theirs.grad.to_dense()).norm()
        assert 0 < difference <= 0.05 * theirs.grad.to_dense().norm(), name


def test_the_carried_state_and_the_whole_evaluation_are_in_float32(batches) -> None:
    vocabulary, windows = batches
    model = make_model(vocabulary, dropout=0.0, precision="bf16")
    for window in windows:
        model(**window)
    assert all(tensor.dtype == torch.float32 for tensor in model._carried_state.training)
    in_fp32 = make_model(vocabulary, dropout=0.0)
    with torch.no_grad():
        for window in windows:
            assert torch.equal(model.eval()(**window)["loss"], in_fp32.eval()(**window)["loss"])


def test_the_exact_softmax_trains_in_bf16(batches) -> None:
    vocabulary, windows = batches
    losses = []
    for precision in ("fp32", "bf16"):
        model = make_model(vocabulary, dropout=0.0, sample_softmax=False, precision=precision)
        losses.append(model(**windows[0])["loss"])
        losses[-1].backward()
    assert losses[0] != losses[1]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-2, atol=0, check_dtype=False)


def test_another_precision_is_refused(batches) -> None:
    with pytest.raises(InputError, match='`precision` must be "fp32" or "bf16", got "fp16"'):
        make_model(batches[0], dropout=0.0, precision="fp16")
