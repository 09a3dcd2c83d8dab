"""The bidirectional language model whole: distinct words -> vectors -> two LSTM stacks -> one softmax, and its loss."""

from functools import partial
from typing import NamedTuple, Optional, Union

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.window_batcher import LanguageModelBatch
from allennlp_elmo_plus.kernels.dropout.dropout import dropout
from allennlp_elmo_plus.kernels.softmax.exact_softmax import exact_nll
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample
from allennlp_elmo_plus.kernels.softmax.sampled_softmax import sampled_softmax_nll
from allennlp_elmo_plus.kernels.threads import run_in_threads
from allennlp_elmo_plus.modules.bilm import BiLM, BiLMState
from allennlp_elmo_plus.modules.softmax import SoftmaxLayer
from allennlp_elmo_plus.modules.token_encoder import CharacterEncoder, WordEncoder


class SampledLoss(NamedTuple):
    """Sampled negative log-likelihood in nats, summed over the batch's targets."""

    forward_nll_sum: Tensor  # ()
    backward_nll_sum: Optional[Tensor]  # (), None for a forward-only model
    state: BiLMState


class ExactLoss(NamedTuple):
    """Exact negative log-likelihood in nats of each target, in packed order."""

    forward_nll: Tensor  # (N,)
    backward_nll: Optional[Tensor]  # (N,), None for a forward-only model
    state: BiLMState


class TopLayer(NamedTuple):
    """What the softmax reads of each direction, packed, in the direction's own reading order."""

    forward: Tensor  # (N, D)
    backward: Optional[Tensor]  # (N, D)
    state: BiLMState


def pack(values: Tensor, mask: Tensor) -> Tensor:
    """The real positions of `values` (B, T), time-major: (N,). Rows are longest first; `mask` (B, T) bool."""
    return values.t().reshape(-1) if mask.all() else values.t()[mask.t()]


def unpack(packed: Tensor, mask: Tensor) -> Tensor:
    """`packed` (N,) back in its places (B, T), 0 elsewhere."""
    return packed.new_zeros(mask.t().shape).masked_scatter(mask.t(), packed).t()


class LanguageModel(nn.Module):
    """The biLM of Peters et al. 2018, section 3.1, as bilm-tf trains it.

    Each distinct word of the batch is encoded once; the two directions read rows of that table, each in its own order; dropout
    falls on each LSTM layer's input and, `dropout_prob`, on the top layer's output; one softmax, shared by both directions, gives
    the loss. With word input and `share_embedding_softmax` the builder makes the embedding and `softmax.weight` one parameter.

    token_encoder: (U, C) characters or (U,) word ids -> (U, D); bilm: the LSTMs; softmax: over V words, D wide.
    """

    def __init__(
        self,
        token_encoder: Union[CharacterEncoder, WordEncoder],
        bilm: BiLM,
        softmax: SoftmaxLayer,
        dropout_prob: float = 0.0,
    ) -> None:
        super().__init__()
        if softmax.weight.shape[1] != bilm.output_size:
            raise ValueError(
                f"`softmax` must be as wide as the biLM's output, {bilm.output_size}, got {softmax.weight.shape[1]}"
            )
        self.token_encoder = token_encoder
        self.bilm = bilm
        self.softmax = softmax
        self.dropout_prob = dropout_prob

    def reset_parameters(self, generator: Optional[torch.Generator] = None) -> None:
        """Draw the initial values of all weights from `generator`, or from torch's own where it is None."""
        self.token_encoder.reset_parameters(generator)
        self.bilm.reset_parameters(generator)
        if self._shares_embedding:
            nn.init.zeros_(self.softmax.bias)
        else:
            self.softmax.reset_parameters(generator)

    @property
    def is_bidirectional(self) -> bool:
        return len(self.bilm.backward_layers) > 0

    @property
    def _shares_embedding(self) -> bool:
        """Return whether the softmax's weight is the word embedding."""
        return isinstance(self.token_encoder, WordEncoder) and self.token_encoder.embedding is self.softmax.weight

    def parameters_with_row_gradients(self) -> list[nn.Parameter]:
        """Those whose gradient `sampled_loss` leaves sparse: of the softmax and, with word input, of the embedding."""
        parameters = [self.softmax.weight, self.softmax.bias]
        if isinstance(self.token_encoder, WordEncoder) and not self._shares_embedding:
            parameters.append(self.token_encoder.embedding)
        return parameters

    def forward(self, batch: LanguageModelBatch, state: Optional[BiLMState] = None) -> TopLayer:
        """The top layer's output for each position, from `state`, or from zeros where None."""
        if isinstance(self.token_encoder, WordEncoder):
            words = self.token_encoder(batch.word_ids)
        else:
            words = self.token_encoder(batch.characters, batch.buckets)
        mask = batch.mask
        if state is None:
            # One row for each of the batch's, those that have nothing to read yet included.
            state = self.bilm.zero_state(len(batch.lengths))
        # Not `words[...]`, whose gradient takes several times as long to add up.
        forward_inputs = words.index_select(0, pack(batch.forward_inputs, mask))
        backward_inputs = words.index_select(0, pack(batch.backward_inputs, mask)) if self.is_bidirectional else None
        output = self.bilm(forward_inputs, backward_inputs, batch.batch_sizes, state)
        forward = self._for_softmax(output.forward[-1])
        backward = None if output.backward is None else self._for_softmax(output.backward[-1])
        return TopLayer(forward, backward, output.state)

    def sampled_loss(
        self,
        batch: LanguageModelBatch,
        negatives: tuple[NegativeSample, NegativeSample],
        state: Optional[BiLMState] = None,
    ) -> SampledLoss:
        """The training loss: each direction against its own sample of negatives, shared by all its positions, as in bilm-tf. The
        gradient of the softmax's weight and bias is sparse: rows that neither were targets nor negatives have none.
        """
        top = self(batch, state)
        nlls: list[Tensor] = run_in_threads(
            [
                partial(sampled_softmax_nll, hidden, targets, self.softmax.weight, self.softmax.bias, sample)
                for hidden, targets, sample in zip(self._directions(top), self._targets(batch), negatives)
            ],
            top.forward.device,
        )
        return SampledLoss(nlls[0], nlls[1] if self.is_bidirectional else None, top.state)

    def exact_loss(
        self, batch: LanguageModelBatch, state: Optional[BiLMState] = None, chunk_size: int = 1024
    ) -> ExactLoss:
        """The loss under the full softmax, `chunk_size` words at a time, so that memory does not grow with the vocabulary."""
        top = self(batch, state)
        nlls: list[Tensor] = run_in_threads(
            [
                partial(exact_nll, hidden, targets, self.softmax.weight, self.softmax.bias, chunk_size)
                for hidden, targets in zip(self._directions(top), self._targets(batch))
            ],
            top.forward.device,
        )
        return ExactLoss(nlls[0], nlls[1] if self.is_bidirectional else None, top.state)

    def _for_softmax(self, hidden: Tensor) -> Tensor:
        """With dropout, and in the type that the softmax's products are to have: autocast's, where that is enabled."""
        device_type = hidden.device.type
        if torch.is_autocast_enabled(device_type):
            hidden = hidden.to(torch.get_autocast_dtype(device_type))
        return dropout(hidden, self.dropout_prob, self.training)

    def _directions(self, top: TopLayer) -> list[Tensor]:
        return [top.forward] if top.backward is None else [top.forward, top.backward]

    def _targets(self, batch: LanguageModelBatch) -> list[Tensor]:
        mask = batch.mask
        targets = [pack(batch.forward_targets, mask)]
        return targets + [pack(batch.backward_targets, mask)] if self.is_bidirectional else targets
