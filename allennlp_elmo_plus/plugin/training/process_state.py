"""What a checkpoint holds of each process of a training, and what a process takes from it."""

import os
from collections.abc import Sequence
from typing import Any, Optional, TypedDict

from allennlp.common.checks import ConfigurationError

from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.training.distributed.lane_states import merge_lane_states, shard_lane_state
from allennlp_elmo_plus.training.distributed.world import World, gather_object
from allennlp_elmo_plus.training.environment import Environment


class ProcessState(TypedDict):
    """`model`: what `BilmModel.state_to_resume` gives; `loss_sum`, `batches_without_loss`: of the epoch so far; `generators`: of
    random numbers; `environment`: what decides the last bits, which checkpoints of earlier versions lack.
    """

    model: dict[str, Any]
    loss_sum: float
    batches_without_loss: float
    generators: Optional[dict[str, Any]]
    environment: Environment


def refuse_another_text(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises `ConfigurationError` where `now`, the identity of what is trained on, is not `before`, that of the checkpoint."""
    for name, value in before.items():
        if now.get(name) != value:
            raise ConfigurationError(
                f"the checkpoint is of a run with another {name}, {value}, got {now.get(name)}: "
                "what was trained on cannot be taken up with another text or layout"
            )


def gathered(state: ProcessState, num_processes: int) -> Optional[list[ProcessState]]:
    """The state of each process, by rank, in the first process of each machine, which is where AllenNLP writes; None elsewhere."""
    on_a_machine = int(os.environ.get("ALLENNLP_PROCS_PER_NODE", num_processes))
    return gather_object(state, range(0, num_processes, on_a_machine))


def rank_on_machine(rank: int) -> int:
    """The number of process `rank` among those of its machine."""
    return rank % int(os.environ.get("ALLENNLP_PROCS_PER_NODE", rank + 1))


def state_for(process: World, states: Sequence[ProcessState]) -> ProcessState:
    """What `process` goes on from, out of the `states` of all processes that a checkpoint holds: its own where there were as many.

    Where there were more or fewer, with as many lanes in all, each lane's LSTM state goes to the process that has the lane now and
    sums are handed over so that their totals stay as they are. Random numbers then come from the generators of the process of the
    same rank; None for those that had no such one.
    """
    rank, num_processes = process
    if len(states) == num_processes:
        return states[rank]
    return {
        "model": {
            "lstm": _lstm_of(process, [state["model"]["lstm"] for state in states]),
            **{name: _sums(rank, [state["model"][name] for state in states]) for name in ("sampled", "exact")},
        },
        # Each process divides its losses by the positions of its own lanes.
        "loss_sum": sum(state["loss_sum"] for state in states) / len(states),
        # Batches are skipped by all together.
        "batches_without_loss": states[0]["batches_without_loss"],
        "generators": states[rank]["generators"] if rank < len(states) else None,
        "environment": states[0].get("environment", {}),
    }


def _lstm_of(process: World, states: Sequence[Any]) -> Any:
    if states[0] is None:
        return None
    return list(shard_lane_state(merge_lane_states([BiLMState(*state) for state in states]), *process))


def _sums(rank: int, sums: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All sums in process 0, and zeros in the others."""
    return {
        name: None if value is None else (sum(each[name] for each in sums) if rank == 0 else type(value)(0))
        for name, value in sums[0].items()
    }
