"""
Which calls are replayed, and that what comes out is the caller's own; without a GPU, with replays as `replayed.py` has them.
"""

import copy
import logging
import pickle

import pytest
import torch

from allennlp_elmo_plus.kernels.cuda_graph import SIGHTINGS, GraphCapture
from tests.helpers.cuda_graph_stand_in import capture_without_gpu

HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"


@pytest.fixture(autouse=True)
def replays(monkeypatch):
    """The captured functions, in order."""
    return [] if HAS_GPU else capture_without_gpu(monkeypatch)


def recurrence(inputs, state, weight):
    for row in inputs:
        state = torch.tanh(state @ weight + row)
    return inputs.cumsum(0) * state, state * 2


def draw(seed=0, steps=3):
    generator = torch.Generator().manual_seed(seed)

    def tensor(*shape, requires_grad=True):
        return torch.randn(*shape, generator=generator).to(DEVICE).requires_grad_(requires_grad)

    return tensor(steps, 4), tensor(4, requires_grad=False), tensor(4, 4)


def run(capture, tensors, key="key"):
    """Results and gradients."""
    leaves = [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in tensors]
    results = capture(recurrence, key, *leaves) if capture is not None else recurrence(*leaves)
    (results[0].square().sum() + results[1].sum()).backward()
    return [*results, *(leaf.grad for leaf in leaves if leaf.requires_grad)]


def captured():
    """With the shapes of `draw()` captured."""
    capture = GraphCapture()
    for _ in range(SIGHTINGS):
        run(capture, draw())
    return capture


def test_what_comes_again_is_replayed_and_equals_what_it_replaces(replays):
    capture = GraphCapture()
    for seed in range(SIGHTINGS + 3):
        assert len(replays) == (seed >= SIGHTINGS) or HAS_GPU
        torch.testing.assert_close(run(capture, draw(seed)), run(None, draw(seed)))
    # The first replay is the one that is compared, before it is used.
    assert HAS_GPU or replays[0].replays == 1 + 4


def test_results_and_gradients_are_not_overwritten_by_the_next_replay(replays):
    capture = captured()
    first = run(capture, draw(1))
    copies = [tensor.clone() for tensor in first]
    run(capture, draw(2))
    torch.testing.assert_close(first, copies, rtol=0, atol=0)


def test_gradients_of_several_replays_add_up():
    capture = captured()
    inputs, state, weight = draw(1)
    for _ in range(2):
        capture(recurrence, "key", inputs, state, weight)[0].sum().backward()
    expected = draw(1)
    (2 * recurrence(*expected)[0].sum()).backward()
    torch.testing.assert_close(weight.grad, expected[2].grad)


def test_a_second_forward_pass_does_not_spoil_the_first_ones_backward(replays):
    capture = captured()
    before = HAS_GPU or replays[0].replays
    leaves = [draw(1), draw(2)]
    results = [capture(recurrence, "key", *tensors)[0] for tensors in leaves]
    assert HAS_GPU or replays[0].replays == before + 1
    (results[0].sum() + results[1].sum()).backward()
    for seed, tensors in zip((1, 2), leaves):
        expected = draw(seed)
        recurrence(*expected)[0].sum().backward()
        torch.testing.assert_close(tensors[2].grad, expected[2].grad)


def test_a_forward_pass_that_is_dropped_frees_the_graph_for_the_next(replays):
    capture = captured()
    before = HAS_GPU or replays[0].replays
    result = capture(recurrence, "key", *draw(1))
    del result
    capture(recurrence, "key", *draw(2))
    assert HAS_GPU or replays[0].replays == before + 2


def test_a_replay_is_differentiated_once():
    results = captured()(recurrence, "key", *draw(1))
    results[0].sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a captured recurrence can be differentiated only once"):
        results[1].sum().backward()


def test_other_shapes_other_keys_and_calls_without_a_gradient_are_not_replayed(replays):
    capture = captured()
    before = HAS_GPU or replays[0].replays
    for _ in range(SIGHTINGS):
        torch.testing.assert_close(run(capture, draw(steps=2)), run(None, draw(steps=2)))
        run(capture, draw(), "other key")
        with torch.no_grad():
            capture(recurrence, "key", *draw())
        inputs, state, weight = draw()
        capture(recurrence, "key", inputs.detach(), state, weight)
    assert HAS_GPU or (len(replays) == 1 and replays[0].replays == before)


def test_shapes_that_take_turns_are_not_captured(replays):
    capture = GraphCapture()
    for number in range(4 * SIGHTINGS):
        run(capture, draw(steps=2 + number % 2))
    assert not replays and capture.state == "not yet"


def test_copies_capture_for_themselves(replays):
    capture = captured()
    for other in (copy.deepcopy(capture), pickle.loads(pickle.dumps(capture))):
        before = HAS_GPU or replays[0].replays
        run(other, draw())
        assert HAS_GPU or replays[0].replays == before


# Triton's compiler and driver, and assertions of PyTorch's own capture, raise errors of other types.
@pytest.mark.parametrize("error", [RuntimeError, AssertionError, OSError])
def test_where_capturing_fails_all_runs_as_it_is_and_the_log_says_so(monkeypatch, caplog, error):
    def refuse(*_):
        raise error("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    with caplog.at_level(logging.WARNING):
        capture = captured()
        torch.testing.assert_close(run(capture, draw(1)), run(None, draw(1)))
    assert len(caplog.records) == 1
    assert f"runs step by step: {error.__name__}: operation not permitted" in caplog.text


@pytest.mark.parametrize("what", ["results", "gradients"])
def test_a_graph_that_computes_something_else_is_not_used(monkeypatch, caplog, what):
    def other(inputs, state, weight):
        outputs, last = recurrence(inputs, state, weight)
        return (outputs * 1.1, last) if what == "results" else (outputs + (weight - weight.detach()).sum(), last)

    make = torch.cuda.make_graphed_callables
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda _, samples: make(other, samples))
    with caplog.at_level(logging.WARNING):
        capture = captured()
        torch.testing.assert_close(run(capture, draw(1)), run(None, draw(1)))
    assert len(caplog.records) == 1 and "differs from what it captured by" in caplog.text


@pytest.mark.parametrize("gradients", [False, True])
def test_a_graph_with_one_value_that_is_no_number_is_not_used(monkeypatch, caplog, gradients):
    """Not the first of what is compared, which decides what Python's `max` returns."""

    def other(inputs, state, weight):
        outputs, last = recurrence(inputs, state, weight)
        if gradients:
            return outputs + 0 * (weight - weight.detach()).abs().sqrt().sum(), last
        return outputs, last + torch.tensor([0, 0, 0, float("nan")], device=DEVICE)

    make = torch.cuda.make_graphed_callables
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda _, samples: make(other, samples))
    with caplog.at_level(logging.WARNING):
        capture = captured()
        torch.testing.assert_close(run(capture, draw(1)), run(None, draw(1)))
    assert len(caplog.records) == 1 and "differs from what it captured by nan" in caplog.text


def clipped_recurrence(parts):
    """As an LSTM's, (B, D) a step: a product summed in as many parts, rounded to the weight's type, clipped, and read again."""

    def run(inputs, state, weight):
        outputs = []
        for row in inputs:
            products = [left @ right for left, right in zip(state.chunk(parts, 1), weight.chunk(parts))]
            state = torch.clamp(sum(products) + row, -0.5, 0.5)
            outputs.append(state)
        return torch.stack(outputs), state

    return run


@pytest.mark.parametrize("scale, is_used", [(1, True), (1.25, False)])
def test_half_types_with_clips_may_differ_by_their_order_of_sums_and_by_no_more(monkeypatch, caplog, scale, is_used):
    """Rounding moves values over a clip, which turns their gradients off or on: here 0.05 of the norm."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"inputs": (5, 64, 64), "state": (64, 64), "weight": (64, 64)}
    drawn = (torch.randn(shape, generator=generator) for shape in shapes.values())
    tensors = [
        (tensor * factor).bfloat16().to(DEVICE).requires_grad_() for tensor, factor in zip(drawn, (0.4, 0.3, 0.1))
    ]

    def replayed(inputs, state, weight):
        outputs, last = clipped_recurrence(4)(inputs, state, weight)
        return outputs * scale, last

    make = torch.cuda.make_graphed_callables
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda _, samples: make(replayed, samples))
    capture = GraphCapture()
    with caplog.at_level(logging.WARNING):
        for _ in range(SIGHTINGS):
            capture(clipped_recurrence(1), "key", *tensors)[0].sum().backward()
    assert capture.state == ("captured" if is_used else "given up")
    assert len(caplog.records) == (not is_used)
