"""The state of each process of a training: gathered for a checkpoint, and selected from one."""

import os
from collections.abc import Sequence
from typing import Any, Optional, TypedDict

from allennlp.common.checks import ConfigurationError

from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.training.distributed.lane_states import merge_lane_states, shard_lane_state
from allennlp_elmo_plus.training.distributed.world import World, gather_object
from allennlp_elmo_plus.training.environment import Environment


class ProcessState(TypedDict):
    """The state of one process."""

    model: dict[str, Any]  # as `BilmModel.state_to_resume` returns it
    loss_sum: float  # of the epoch so far
    batches_without_loss: float  # of the epoch so far
    held_out_epoch: int  # the next one of the loader of held-out text; checkpoints of earlier versions lack it
    generators: Optional[dict[str, Any]]  # the states of the random number generators
    environment: Environment  # the settings on which the last bits depend; checkpoints of earlier versions lack it


def refuse_another_text(checkpointed: dict[str, Any], current: dict[str, Any]) -> None:
    """Check that the `current` identity of the training text is the `checkpointed` one.

    Raises:
        ConfigurationError: naming the first difference.
    """
    for name, value in checkpointed.items():
        if current.get(name) != value:
            raise ConfigurationError(
                f"the checkpoint is of a run with another {name}, {value}, got {current.get(name)}: "
                "a run cannot be resumed with another text or layout"
            )


def gather_states(state: ProcessState, num_processes: int) -> Optional[list[ProcessState]]:
    """Return the state of each process, by rank, in the first process of each machine, where AllenNLP writes; else None."""
    num_on_machine = int(os.environ.get("ALLENNLP_PROCS_PER_NODE", num_processes))
    return gather_object(state, range(0, num_processes, num_on_machine))


def rank_on_machine(rank: int) -> int:
    """Return the number of process `rank` among the processes of its machine."""
    return rank % int(os.environ.get("ALLENNLP_PROCS_PER_NODE", rank + 1))


def select_state(process: World, states: Sequence[ProcessState]) -> ProcessState:
    """Return the checkpointed state for `process`.

    With an unchanged number of processes this is the state of the same rank. Otherwise, with as many lanes in all, the LSTM state
    of each lane goes to the process that now has the lane, and the sums are redistributed so that their totals stay equal. The
    random number generators are those of the same rank, or None for a rank that had none.

    Args:
        process: the rank, and the number of processes.
        states: of all processes at the checkpoint, by rank.
    """
    rank, num_processes = process
    if len(states) == num_processes:
        return states[rank]
    return {
        "model": {
            "lstm": _redistribute_lanes(process, [state["model"]["lstm"] for state in states]),
            **{
                name: _redistribute_sums(rank, [state["model"][name] for state in states])
                for name in ("sampled", "exact")
            },
        },
        # Each process divides its losses by the positions of its own lanes.
        "loss_sum": sum(state["loss_sum"] for state in states) / len(states),
        # All processes skip the same batches.
        "batches_without_loss": states[0]["batches_without_loss"],
        "held_out_epoch": states[0].get("held_out_epoch", 0),
        "generators": states[rank]["generators"] if rank < len(states) else None,
        "environment": states[0].get("environment", {}),
    }


def _redistribute_lanes(process: World, states: Sequence[Any]) -> Any:
    if states[0] is None:
        return None
    return list(shard_lane_state(merge_lane_states([BiLMState(*state) for state in states]), *process))


def _redistribute_sums(rank: int, sums: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return all sums for process 0, and zeros for the others."""
    return {
        name: None
        if value is None
        else (sum(process_sums[name] for process_sums in sums) if rank == 0 else type(value)(0))
        for name, value in sums[0].items()
    }
