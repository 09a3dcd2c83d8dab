"""The recurrent state of all lanes <-> the states of W processes, where process i mod W reads lane i."""

from collections.abc import Sequence

import torch

from allennlp_elmo_plus.modules.bilm import BiLMState


def merge_lane_states(states: Sequence[BiLMState]) -> BiLMState:
    """Return the state of all lanes, in their order, from the `states` of W processes with B lanes each."""
    # (directions, L, B, W, size): lane r + i * W is row i of process r.
    return BiLMState(*(torch.stack(parts, dim=3).flatten(2, 3) for parts in zip(*states, strict=True)))


def shard_lane_state(state: BiLMState, rank: int, num_processes: int) -> BiLMState:
    """Return the state of the lanes of process `rank` of `num_processes`, from the `state` of all lanes."""
    return BiLMState(*(part[:, :, rank::num_processes].contiguous() for part in state))
