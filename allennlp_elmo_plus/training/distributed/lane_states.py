"""The LSTM's state of all lanes, when processes have a share of the lanes each: lane i is with process i mod W."""

from collections.abc import Sequence

import torch
from torch import Tensor

from allennlp_elmo_plus.modules.bilm import BiLMState


def merge_lane_states(states: Sequence[BiLMState]) -> BiLMState:
    """The state of all lanes, in their order, from that of each of W processes with B lanes each."""

    def of_lanes(shares: Sequence[Tensor]) -> Tensor:
        # (directions, L, B, W, size): lane r + i * W is row i of process r.
        return torch.stack(list(shares), dim=3).flatten(2, 3)

    return BiLMState(of_lanes([state.hidden for state in states]), of_lanes([state.cell for state in states]))


def shard_lane_state(state: BiLMState, rank: int, num_processes: int) -> BiLMState:
    """The state of the lanes of process `rank`, from that of all lanes."""
    return BiLMState(*(part[:, :, rank::num_processes].contiguous() for part in state))
