"""The whole bidirectional language model: distinct words -> vectors -> two stacks of recurrent layers -> softmax -> loss."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Optional, Union

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.sentence_packing import pack
from allennlp_elmo_plus.kernels.dropout.dropout import dropout
from allennlp_elmo_plus.kernels.softmax.exact_softmax import exact_nll
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample
from allennlp_elmo_plus.kernels.softmax.sampled_softmax import sampled_softmax_nll
from allennlp_elmo_plus.kernels.threads import run_in_threads
from allennlp_elmo_plus.modules.bilm import BiLM, BiLMState
from allennlp_elmo_plus.modules.softmax import SoftmaxLayer
from allennlp_elmo_plus.modules.token_encoder import CharacterEncoder, WordEncoder


class SampledLoss(NamedTuple):
    """The sampled negative log-likelihood in nats, summed over the targets of a batch."""

    forward_nll_sum: Tensor  # ()
    backward_nll_sum: Optional[Tensor]  # (), None for a forward-only model
    state: BiLMState


class ExactLoss(NamedTuple):
    """The exact negative log-likelihood in nats of each target, packed."""

    forward_nll: Tensor  # (N,)
    backward_nll: Optional[Tensor]  # (N,), None for a forward-only model
    state: BiLMState


class TopLayer(NamedTuple):
    """The top layer's output, which the softmax reads, packed, in each direction's own reading order."""

    forward: Tensor  # (N, D)
    backward: Optional[Tensor]  # (N, D)
    state: BiLMState


class LanguageModel(nn.Module):
    """The biLM of Peters et al. 2018, section 3.1, as bilm-tf trains it.

    Each distinct word of a batch is encoded once. Both directions look up their words in this table, each in its own order. One
    softmax, shared by both directions, gives the loss.

    Args:
        token_encoder: Encodes characters (U, C) or word ids (U,) as vectors (U, D).
        bilm: The recurrent layers, which have their own dropout.
        softmax: Over V words, D wide. Its weight may be the embedding of `token_encoder`.
        dropout_prob: Dropout on the top layer's output.
        sample_softmax: Whether training uses `sampled_loss` rather than `exact_loss`.
    """

    def __init__(
        self,
        token_encoder: Union[CharacterEncoder, WordEncoder],
        bilm: BiLM,
        softmax: SoftmaxLayer,
        dropout_prob: float = 0.0,
        sample_softmax: bool = True,
    ) -> None:
        super().__init__()
        self.token_encoder = token_encoder
        self.bilm = bilm
        self.softmax = softmax
        self.dropout_prob = dropout_prob
        self.sample_softmax = sample_softmax

    def reset_parameters(self) -> None:
        """Draw the initial values of all weights."""
        self.token_encoder.reset_parameters()
        self.bilm.reset_parameters()
        if self._shares_embedding:
            nn.init.zeros_(self.softmax.bias)
        else:
            self.softmax.reset_parameters()

    @property
    def has_untrained_softmax(self) -> bool:
        """Return whether all weights of the softmax alone are zero, as where a biLM was imported from files without a softmax."""
        own = [self.softmax.bias] if self._shares_embedding else [self.softmax.bias, self.softmax.weight]
        return not any(bool(weight.any()) for weight in own)

    @property
    def _shares_embedding(self) -> bool:
        """Return whether the softmax's weight is the word embedding."""
        return isinstance(self.token_encoder, WordEncoder) and self.token_encoder.embedding is self.softmax.weight

    def sparse_parameters(self) -> list[nn.Parameter]:
        """Return the trainable parameters whose gradient in training is sparse by rows: of the softmax and of a word embedding.

        Everything that treats sparse gradients apart (averages over processes, optimizers, clips) asks this method.
        """
        if not self.sample_softmax:
            return []
        parameters = [self.softmax.weight, self.softmax.bias]
        if isinstance(self.token_encoder, WordEncoder) and not self._shares_embedding:
            parameters.append(self.token_encoder.embedding)
        return [parameter for parameter in parameters if parameter.requires_grad]

    def forward(self, batch: LanguageModelBatch, state: Optional[BiLMState] = None) -> TopLayer:
        """Return the top layer's output for each position of `batch`, beginning with `state`, or with zeros where it is None."""
        if isinstance(self.token_encoder, WordEncoder):
            words = self.token_encoder(batch.word_ids)
        else:
            words = self.token_encoder(batch.characters, batch.buckets)
        if state is None:
            # Rows with nothing to read in this window have a state too.
            state = self.bilm.zero_state(len(batch.lengths))
        # The backward pass of `words[...]` takes several times as long.
        forward_inputs = words.index_select(0, pack(batch.forward_inputs, batch.batch_sizes))
        backward_inputs = (
            words.index_select(0, pack(batch.backward_inputs, batch.batch_sizes))
            if self.bilm.is_bidirectional
            else None
        )
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
        """Return the training loss of `batch`, beginning with `state`, or with zeros where it is None.

        The gradient of the softmax's weight and bias is sparse: it holds the rows of targets and of negatives. `negatives` are the
        forward and the backward direction's sample, which all positions share, as in bilm-tf.
        """
        losses = [partial(sampled_softmax_nll, negatives=sample) for sample in negatives]
        return SampledLoss(*self._nlls(batch, state, losses))

    def exact_loss(
        self, batch: LanguageModelBatch, state: Optional[BiLMState] = None, chunk_size: int = 1024
    ) -> ExactLoss:
        """Return the loss of `batch` under the full softmax, beginning with `state`, or with zeros where it is None.

        The logits of `chunk_size` words of the vocabulary are held at once, so that memory does not grow with the vocabulary.
        """
        return ExactLoss(*self._nlls(batch, state, [partial(exact_nll, chunk_size=chunk_size)] * 2))

    def _for_softmax(self, hidden: Tensor) -> Tensor:
        """Return `hidden` (N, D) with dropout, in autocast's type where autocast is enabled: the type of the softmax's products."""
        device_type = hidden.device.type
        hidden = dropout(hidden, self.dropout_prob, self.training)
        return hidden.to(torch.get_autocast_dtype(device_type)) if torch.is_autocast_enabled(device_type) else hidden

    def _nlls(
        self, batch: LanguageModelBatch, state: Optional[BiLMState], losses: Sequence[Callable[..., Tensor]]
    ) -> tuple[Tensor, Optional[Tensor], BiLMState]:
        """Return the loss of each direction, computed by its function of `losses`, and the new state."""
        top = self(batch, state)
        directions = [(top.forward, batch.forward_targets)]
        if top.backward is not None:
            directions.append((top.backward, batch.backward_targets))
        nlls = run_in_threads(
            [
                partial(loss, hidden, pack(targets, batch.batch_sizes), self.softmax.weight, self.softmax.bias)
                for loss, (hidden, targets) in zip(losses, directions)
            ],
            top.forward.device,
        )
        return nlls[0], None if top.backward is None else nlls[1], top.state
