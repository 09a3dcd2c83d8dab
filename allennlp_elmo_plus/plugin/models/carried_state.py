"""The LSTM's state between two windows of running text."""

from typing import Optional

import torch
from allennlp.common.checks import ConfigurationError

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.modules.bilm import BiLMState


class CarriedState:
    """The last states of training and of evaluation, each without gradients, or None before the first window."""

    def __init__(self) -> None:
        self.training: Optional[BiLMState] = None
        self.evaluation: Optional[BiLMState] = None

    def read(self, batch: LanguageModelBatch, is_training: bool) -> Optional[BiLMState]:
        """Return the state in which `batch` starts; None for zeros, with which whole sentences always start.

        Raises:
            ConfigurationError: where the last window had another number of lanes.
        """
        state = self.training if is_training else self.evaluation
        if state is None or not batch.carries_state:
            return None
        num_lanes = state.hidden.shape[2]
        if num_lanes != len(batch.lengths):
            raise ConfigurationError(
                f"the carried state has {num_lanes} lanes, got a batch of {len(batch.lengths)}: "
                "call `reset_states()` before a text in another number of lanes"
            )
        return state

    def keep(self, batch: LanguageModelBatch, is_training: bool, state: BiLMState) -> None:
        """Keep the `state` in which `batch` ended for the next window; whole sentences leave no state."""
        if not batch.carries_state:
            return
        if is_training:
            self.training = state.detach()
        else:
            self.evaluation = state.detach()

    def state_dict(self) -> Optional[list[torch.Tensor]]:
        """Return the tensors of the state of training, or None before the first batch."""
        return None if self.training is None else list(self.training)

    def load_state_dict(self, tensors: Optional[list[torch.Tensor]], device: torch.device) -> None:
        """Restore the state of training from `tensors`, which `state_dict` returned, on `device`."""
        self.training = None if tensors is None else BiLMState(*(tensor.to(device) for tensor in tensors))
