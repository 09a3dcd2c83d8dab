"""A training step as in pretraining: loss of a window, gradients, global-norm clip, Adagrad."""

from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Optional, Union

import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.kernels.precision import products_in
from allennlp_elmo_plus.kernels.threads import take_threads
from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.training.adagrad import Adagrad
from allennlp_elmo_plus.training.loss import mean_loss

from .model_sizes import Options


class TrainingJob:
    """
    A biLM of `options` and its optimizer. Each `step` uses the next of `batches`, in a cycle, and carries the state.

    Args:
        bfloat16: Compute as the model does with `precision` "bf16": matrix products in bfloat16, where the processor has
            instructions for them.
        device: The device of the model and of the batches.

    Attributes:
        state: The recurrent state after the last step; None before the first.
    """

    def __init__(
        self,
        options: Options,
        vocab_size: int,
        batches: Iterable[LanguageModelBatch],
        bfloat16: bool = False,
        device: Union[str, torch.device] = "cpu",
    ) -> None:
        self.options = BiLMOptions.from_dict(options, inference=False)
        self.model = build_language_model(self.options, vocab_size).to(device)
        self.optimizer = Adagrad(self.model.parameters(), max_norm=10.0)
        self.batches: Iterator[LanguageModelBatch] = cycle(batches)
        self._precision = "bf16" if bfloat16 else "fp32"
        self.state: Optional[BiLMState] = None

    def step(self) -> Tensor:
        """Train on a batch and return the loss before the step, a scalar tensor on the model's device."""
        # As the model does in pretraining; other contenders in this process get PyTorch's threads back.
        num_threads = torch.get_num_threads()
        take_threads()
        self.optimizer.zero_grad()
        loss = self.backward()
        self.optimizer.step()
        torch.set_num_threads(num_threads)
        return loss

    def backward(self) -> Tensor:
        """Compute the loss and its gradients without the optimizer's update; return the loss."""
        batch = next(self.batches)
        assert batch.forward_negatives is not None and batch.backward_negatives is not None
        with products_in(self._precision, batch.lengths.device):
            result = self.model.sampled_loss(batch, (batch.forward_negatives, batch.backward_negatives), self.state)
        self.state = result.state.detach()
        loss = mean_loss(result.forward_nll_sum, result.backward_nll_sum, batch.forward_inputs.numel())
        (loss * self.options.unroll_steps).backward()
        return loss.detach()
