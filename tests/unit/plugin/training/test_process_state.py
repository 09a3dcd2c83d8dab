"""A checkpoint of some processes, taken up by as many or by another number: what all of them have together stays the same."""

from typing import Any, Optional

import pytest
import torch

from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.plugin.training.metrics.bilm_perplexity import BilmPerplexity
from allennlp_elmo_plus.plugin.training.process_state import ProcessState, select_state
from allennlp_elmo_plus.training.distributed.lane_states import merge_lane_states
from allennlp_elmo_plus.training.distributed.world import World

NUM_LANES = 6
NUMBERS = [(1, 2), (2, 1), (2, 3), (3, 2), (6, 1), (3, 3)]
ALL_LANES = BiLMState(
    torch.arange(2.0 * NUM_LANES * 4).view(1, 2, NUM_LANES, 4),
    torch.arange(2.0 * NUM_LANES * 3).view(1, 2, NUM_LANES, 3),
)


def metric_of(rank: int, is_bidirectional: bool) -> BilmPerplexity:
    """A metric that has seen a batch of its own, each number a power of two, so that sums are exact in any order."""
    metric = BilmPerplexity()
    metric(torch.tensor(2.0**rank), torch.tensor(0.5**rank) if is_bidirectional else None, 3 + rank)
    return metric


def saved_by(num_processes: int, is_bidirectional: bool = True, has_lstm: bool = True) -> list[ProcessState]:
    """The states of all processes; process r has lanes r, r + W and so on."""
    return [
        {
            "model": {
                "lstm": [part[:, :, rank::num_processes] for part in ALL_LANES] if has_lstm else None,
                "sampled": metric_of(rank, is_bidirectional).state_dict(),
                "exact": BilmPerplexity().state_dict(),
            },
            "loss_sum": 8.0 + 2.0**rank,
            "batches_without_loss": 1.5,
            "generators": {"of": rank},
        }
        for rank in range(num_processes)
    ]


def totals(states: list[ProcessState], name: str) -> dict[str, Any]:
    """The sums of all processes, as `sum_over_processes` adds them up."""
    sums: dict[str, Any] = {"forward_nll": 0.0, "backward_nll": None, "num_targets": 0}
    for state in states:
        metric = BilmPerplexity()
        metric.load_state_dict(state["model"][name])
        for key, value in metric.state_dict().items():
            sums[key] = value if sums[key] is None else sums[key] + (value or 0)
    return sums


@pytest.mark.parametrize("before, after", NUMBERS)
@pytest.mark.parametrize("is_bidirectional", [True, False])
def test_sums_of_metrics_have_the_totals_they_had(before: int, after: int, is_bidirectional: bool) -> None:
    states = saved_by(before, is_bidirectional)
    taken_up = [select_state(World(rank, after), states) for rank in range(after)]
    for name in ("sampled", "exact"):
        expected = totals(states, name)
        assert totals(taken_up, name) == expected
        assert isinstance(expected["num_targets"], int)
    assert totals(taken_up, "sampled")["num_targets"] == sum(3 + rank for rank in range(before))
    assert (totals(taken_up, "sampled")["backward_nll"] is None) != is_bidirectional


@pytest.mark.parametrize("before, after", NUMBERS)
def test_the_mean_loss_and_the_skipped_batches_are_what_they_were(before: int, after: int) -> None:
    states = saved_by(before)
    taken_up = [select_state(World(rank, after), states) for rank in range(after)]
    # The trainer averages over processes.
    means = [sum(state["loss_sum"] for state in each) / len(each) for each in (taken_up, states)]
    assert means[0] == pytest.approx(means[1], rel=1e-15)
    assert [state["batches_without_loss"] for state in taken_up] == [1.5] * after


@pytest.mark.parametrize("before, after", NUMBERS)
def test_each_lane_keeps_its_lstm_state(before: int, after: int) -> None:
    states = saved_by(before)
    taken_up = [select_state(World(rank, after), states)["model"]["lstm"] for rank in range(after)]
    assert all(map(torch.equal, merge_lane_states([BiLMState(*state) for state in taken_up]), ALL_LANES))
    nothing = saved_by(before, has_lstm=False)
    assert all(select_state(World(rank, after), nothing)["model"]["lstm"] is None for rank in range(after))


@pytest.mark.parametrize("before, after", NUMBERS)
def test_random_numbers_are_those_of_the_same_rank(before: int, after: int) -> None:
    states = saved_by(before)
    found: list[Optional[dict[str, Any]]] = [
        select_state(World(rank, after), states)["generators"] for rank in range(after)
    ]
    assert found == [{"of": rank} if rank < before else None for rank in range(after)]
