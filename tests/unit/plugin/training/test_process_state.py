"""A checkpoint of several processes, resumed by the same or another number of processes: the totals stay the same."""

from typing import Any, Optional

import pytest
import torch

from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.plugin.training.metrics.bilm_perplexity import BilmPerplexity
from allennlp_elmo_plus.plugin.training.process_state import ProcessState, select_state
from allennlp_elmo_plus.training.distributed.lane_states import merge_lane_states
from allennlp_elmo_plus.training.distributed.world import World

NUM_LANES = 6
# Numbers of processes before and after the checkpoint.
NUMBERS = [(1, 2), (2, 1), (2, 3), (3, 2), (6, 1), (3, 3)]
ALL_LANES = BiLMState(
    torch.arange(2.0 * NUM_LANES * 4).view(1, 2, NUM_LANES, 4),
    torch.arange(2.0 * NUM_LANES * 3).view(1, 2, NUM_LANES, 3),
)


def metric_of(rank: int, is_bidirectional: bool) -> BilmPerplexity:
    """Return a metric with one batch, which differs by rank. Its numbers are powers of two, so that sums are exact in any order."""
    metric = BilmPerplexity()
    metric(torch.tensor(2.0**rank), torch.tensor(0.5**rank) if is_bidirectional else None, 3 + rank)
    return metric


def saved_by(num_processes: int, is_bidirectional: bool = True, has_lstm: bool = True) -> list[ProcessState]:
    """Return the states of all processes. Process r of W has the lanes r, r + W, r + 2W, ..."""
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
    """Return the sums over all processes, as `sum_over_processes` computes them."""
    sums: dict[str, Any] = {"forward_nll": 0.0, "backward_nll": None, "num_targets": 0}
    for state in states:
        metric = BilmPerplexity()
        metric.load_state_dict(state["model"][name])
        for key, value in metric.state_dict().items():
            sums[key] = value if sums[key] is None else sums[key] + (value or 0)
    return sums


@pytest.mark.parametrize("before, after", NUMBERS)
@pytest.mark.parametrize("is_bidirectional", [True, False])
def test_the_totals_of_metrics_stay_the_same(before: int, after: int, is_bidirectional: bool) -> None:
    states = saved_by(before, is_bidirectional)
    resumed = [select_state(World(rank, after), states) for rank in range(after)]
    for name in ("sampled", "exact"):
        expected = totals(states, name)
        assert totals(resumed, name) == expected
        assert isinstance(expected["num_targets"], int)
    assert totals(resumed, "sampled")["num_targets"] == sum(3 + rank for rank in range(before))
    assert (totals(resumed, "sampled")["backward_nll"] is None) != is_bidirectional


@pytest.mark.parametrize("before, after", NUMBERS)
def test_the_mean_loss_and_the_number_of_skipped_batches_stay_the_same(before: int, after: int) -> None:
    states = saved_by(before)
    resumed = [select_state(World(rank, after), states) for rank in range(after)]
    # The trainer averages the losses over the processes.
    mean, expected = (sum(state["loss_sum"] for state in group) / len(group) for group in (resumed, states))
    assert mean == pytest.approx(expected, rel=1e-15)
    assert [state["batches_without_loss"] for state in resumed] == [1.5] * after


@pytest.mark.parametrize("before, after", NUMBERS)
def test_each_lane_keeps_its_lstm_state(before: int, after: int) -> None:
    states = saved_by(before)
    resumed = [select_state(World(rank, after), states)["model"]["lstm"] for rank in range(after)]
    assert all(map(torch.equal, merge_lane_states([BiLMState(*state) for state in resumed]), ALL_LANES))
    without_lstm = saved_by(before, has_lstm=False)
    assert all(select_state(World(rank, after), without_lstm)["model"]["lstm"] is None for rank in range(after))


@pytest.mark.parametrize("before, after", NUMBERS)
def test_random_states_are_those_of_the_same_rank_and_missing_for_new_ranks(before: int, after: int) -> None:
    states = saved_by(before)
    generators: list[Optional[dict[str, Any]]] = [
        select_state(World(rank, after), states)["generators"] for rank in range(after)
    ]
    assert generators == [{"of": rank} if rank < before else None for rank in range(after)]
