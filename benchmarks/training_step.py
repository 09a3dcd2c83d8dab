"""A training step as pretraining takes it: loss of a window, gradients, clip by the global norm, Adagrad."""

from collections.abc import Sequence
from itertools import cycle
from typing import Optional

import torch

from allennlp_elmo_plus.core.adagrad import Adagrad
from allennlp_elmo_plus.core.batch import LanguageModelBatch
from allennlp_elmo_plus.core.bilm import BiLMState
from allennlp_elmo_plus.core.builder import build_language_model
from allennlp_elmo_plus.core.options import BiLMOptions
from allennlp_elmo_plus.core.training_loss import mean_loss

from .model_sizes import Options


class TrainingJob:
    """
    A biLM of `options` and its optimizer; each `step` takes the next of `batches`, round and round, state carried. Matrix products
    in bfloat16 where `bfloat16` says so, as with `precision` "bf16" of the model.
    """

    def __init__(
        self, options: Options, vocab_size: int, batches: Sequence[LanguageModelBatch], bfloat16: bool = False
    ) -> None:
        self.options = BiLMOptions.from_dict(options, inference=False)
        self.model = build_language_model(self.options, vocab_size)
        self.optimizer = Adagrad(self.model.parameters(), max_norm=10.0)
        self._batches = cycle(batches)
        self._bfloat16 = bfloat16
        self._state: Optional[BiLMState] = None

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.backward()
        self.optimizer.step()

    def backward(self) -> None:
        """Everything but the optimizer."""
        batch = next(self._batches)
        assert batch.forward_negatives is not None and batch.backward_negatives is not None
        with torch.autocast(batch.lengths.device.type, torch.bfloat16, enabled=self._bfloat16):
            result = self.model.sampled_loss(batch, (batch.forward_negatives, batch.backward_negatives), self._state)
        self._state = result.state.detach()
        loss = mean_loss(result.forward_nll_sum, result.backward_nll_sum, batch.forward_inputs.numel())
        (loss * self.options.unroll_steps).backward()
