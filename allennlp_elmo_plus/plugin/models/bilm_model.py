"""The model `bilm`."""

import dataclasses
import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import TextFieldTensors, Vocabulary
from allennlp.models import Model
from allennlp.nn.util import dist_reduce_sum
from overrides import overrides

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler, sampler_of
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS
from allennlp_elmo_plus.inference.scoring.sentence_log_probs import sentence_log_probs
from allennlp_elmo_plus.kernels.precision import check_precision, products_in
from allennlp_elmo_plus.kernels.threads import take_threads
from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions, option_keys
from allennlp_elmo_plus.plugin.data.vocabulary import TOKENS_NAMESPACE, words_of
from allennlp_elmo_plus.plugin.models.bilm_metrics import BilmMetrics
from allennlp_elmo_plus.plugin.models.carried_state import CarriedState
from allennlp_elmo_plus.plugin.models.model_inputs import batch_of_source, negatives_of_batch
from allennlp_elmo_plus.plugin.models.pretrained_weights import start_from
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.training.distributed.sparse_gradients import exclude_from_ddp, is_all_reduced_by_rows
from allennlp_elmo_plus.training.distributed.world import world
from allennlp_elmo_plus.training.leak_check import Leak, find_leaks
from allennlp_elmo_plus.training.loss import mean_loss, skipped_loss, training_loss

logger = logging.getLogger(__name__)


@Model.register("bilm")
class BilmModel(StrictFromParams, Model):
    """The bidirectional language model of Peters et al. 2018, trained as bilm-tf trains it; see `modules.language_model`.

    The LSTM state of windows of running text, from the data loader "bilm", is carried from one batch to the next. Whole sentences,
    from any other data loader, each start from a zero state.

    In training the softmax is sampled, and its perplexity is called `sampled_perplexity`: it lies far below the exact one. In
    evaluation, and without sampling, the softmax is exact, and `perplexity` is the geometric mean of
    `forward_perplexity` and `backward_perplexity`. `loss` is 0.5 * (forward + backward) nats per target; its gradient is that of
    loss * `unroll_steps`, as in bilm-tf. In the last windows of an epoch, in which some lanes have ended, `loss` is the mean over
    the remaining targets, in distributed training over those of all processes; see `training.loss` for its gradient.

    Training and evaluation each carry their own state, which `reset_states()` drops; every switch to evaluation starts from a zero
    state. The state is not saved with the weights.

    If `on_nonfinite_loss` is set, it is called with each training loss that is not finite. If it returns, the batch is skipped:
    the loss becomes a 0 of which no parameter has a gradient, and state and metrics stay as they were.

    Every option of bilm-tf's options.json is an argument with its meaning.

    Args:
        vocab: a vocabulary "bilm".
        lstm: `dim`, `projection_dim`, `n_layers` (1), `cell_clip`, `proj_clip` (no clip), `use_skip_connections` (false). Beyond
            bilm-tf's: `cell` ("lstm", or another one of `options.cells.CELL_NAMES`), `layer_norm` (false), see `modules.recurrent`.
        char_cnn: `embedding: {dim}`, `filters`, `activation` ("relu" or "tanh"), `max_characters_per_token` (50), `n_highway` (0),
            `n_characters` (261). Without it, each word has an embedding of its own.
        bidirectional: whether there is a backward direction.
        dropout: on the input of every LSTM layer and on the output of the top layer.
        n_negative_samples_batch: negative samples for each direction. A data loader that draws them must have the same number.
        sample_softmax: whether the softmax of training is sampled. It never is where the vocabulary has at most
            `n_negative_samples_batch` words.
        share_embedding_softmax: whether the word embedding and the softmax are one matrix; word input only.
        unroll_steps: the factor of the gradient; the `num_steps` of the data loader.
        n_tokens_vocab: checked against the vocabulary's size.
        batch_size: only exported to options.json; the data loader decides it.
        n_epochs: only exported to options.json; the trainer decides it.
        n_train_tokens: only exported to options.json.
        all_clip_norm_val: only exported to options.json; the optimizer decides it.
        learning_rate: only exported to options.json; the optimizer decides it.
        exact_chunk_size: words of the vocabulary whose logits the exact softmax holds at once; this bounds its memory.
        precision: "fp32", or "bf16" for matrix products of training in bfloat16. Weights, gradients, the cell, the carried state,
            the loss and all of evaluation stay in float32. On a processor without instructions for bfloat16 it changes nothing.
        pretrained_file: the model to start from, with the same options: a model.tar.gz, a directory of bilm-tf's training, a
            weights.hdf5 with its vocab.txt beside it, or another kind in `docs/convert.md`; a path or a URL. Rows of the softmax and
            of a word embedding are copied by word. Rows of new words, and all rows without an old softmax, are initialised. With
            the vocabulary of bilm-tf's training, the optimizer "bilm" continues with Adagrad's sums. AllenNLP ignores this option
            when it loads an archive.
    """

    default_predictor = "bilm"
    # One number a batch, which AllenNLP would warn that it cannot split among the sentences of a prediction.
    _warn_for_unseparable_batches = {"loss"}

    def __init__(
        self,
        vocab: Vocabulary,
        lstm: dict[str, Any],
        char_cnn: Optional[dict[str, Any]] = None,
        bidirectional: bool = False,
        dropout: float = 0.0,
        n_negative_samples_batch: int = 8192,
        sample_softmax: bool = True,
        share_embedding_softmax: bool = False,
        unroll_steps: int = 20,
        n_tokens_vocab: Optional[int] = None,
        batch_size: Optional[int] = None,
        n_epochs: Optional[int] = None,
        n_train_tokens: Optional[int] = None,
        all_clip_norm_val: Optional[float] = None,
        learning_rate: Optional[float] = None,
        exact_chunk_size: int = 1024,
        precision: str = "fp32",
        pretrained_file: Optional[str] = None,
    ) -> None:
        # Each option of a biLM is the argument of its name.
        names = {key.partition(".")[0] for key in option_keys()}
        options = {name: value for name, value in locals().items() if name in names}
        super().__init__(vocab)
        if exact_chunk_size < 1:
            raise ConfigurationError(f"`exact_chunk_size` must be at least 1, got {exact_chunk_size}")
        self.options = BiLMOptions.from_dict(options, source="model", inference=False)
        if not set(SPECIAL_WORDS) <= vocab.get_token_to_index_vocabulary(TOKENS_NAMESPACE).keys():
            raise ConfigurationError('the model "bilm" needs the vocabulary "bilm": `vocabulary: {type: "bilm"}`')
        # AllenNLP counts its padding token as an entry.
        vocab_size = vocab.get_vocab_size(TOKENS_NAMESPACE) - 1
        self._sampler = sampler_of(vocab_size, n_negative_samples_batch) if sample_softmax else None
        if sample_softmax and self._sampler is None:
            logger.info(
                "the softmax is not sampled: the vocabulary has %d words, and `n_negative_samples_batch` is %d",
                vocab_size,
                n_negative_samples_batch,
            )
            self.options = dataclasses.replace(self.options, sample_softmax=False)
        self.language_model = build_language_model(self.options, vocab_size)
        if pretrained_file is not None:
            start_from(pretrained_file, self.language_model, self.options, words_of(vocab))
        exclude_from_ddp(self, self.language_model.sparse_parameters())
        self.exact_chunk_size = exact_chunk_size
        self.precision = check_precision(precision)
        self._carried_state = CarriedState()
        self._metrics = BilmMetrics()
        self._has_checked_softmax = False
        self.on_nonfinite_loss: Optional[Callable[[float], None]] = None

    @overrides
    def extend_embedder_vocab(self, embedding_sources_mapping: Optional[dict[str, str]] = None) -> None:
        """Refuse a vocabulary that AllenNLP has extended, as with `--extend-vocab`.

        Raises:
            ConfigurationError: It has more words than the softmax.
        """
        num_words, size = len(words_of(self.vocab)), len(self.language_model.softmax.bias)
        if num_words > size:
            raise ConfigurationError(
                f"the vocabulary of a biLM must have the {size} words of its softmax, got {num_words}: leave out --extend-vocab; to train "
                "on with other words, use `pretrained_file` in place of `from_archive`"
            )

    # The base class takes `*inputs`; a model names the fields of its instances.
    @overrides(check_signature=False)
    def forward(  # type: ignore[override]
        self, batch: Optional[LanguageModelBatch] = None, source: Optional[TextFieldTensors] = None
    ) -> dict[str, torch.Tensor]:
        """Return `loss` (), nats per target, and for sentences the fields of `SentenceLogProbs`.

        Args:
            batch: B lanes from the data loader "bilm", or B sentences from "bilm_sentences".
            source: B padded sentences from any other data loader.

        Raises:
            ConfigurationError: unless exactly one of `batch` and `source` is given.
        """
        if source is not None and batch is None:
            batch = batch_of_source(source, takes_characters=self.options.char_cnn is not None)
        elif batch is None or source is not None:
            raise ConfigurationError("exactly one of `batch` and `source` must be given")
        take_threads()
        self._metrics.start_batch(sum(batch.batch_sizes), self.training)
        if self.training and self._sampler is not None:
            return self._sampled_loss(batch, self._sampler)
        return self._exact_loss(batch)

    def _sampled_loss(self, batch: LanguageModelBatch, sampler: LogUniformSampler) -> dict[str, torch.Tensor]:
        if world().num_processes > 1:
            self._check_gradient_all_reduce()
        state, negatives = self._carried_state.read(batch, self.training), negatives_of_batch(batch, sampler)
        with self._autocast(batch):
            result = self.language_model.sampled_loss(batch, negatives, state)
        sums = result.forward_nll_sum, result.backward_nll_sum
        return {"loss": self._finish(batch, *sums, result.state, is_sampled=True)}

    def _exact_loss(self, batch: LanguageModelBatch) -> dict[str, torch.Tensor]:
        if not self.training and not self._has_checked_softmax:
            self._has_checked_softmax = True
            if self.language_model.has_untrained_softmax:
                logger.warning(
                    "this model has no softmax, since it was imported from files without one: its probabilities and perplexities "
                    "are those of guessing among its %d words; fine-tune it first",
                    len(self.language_model.softmax.bias),
                )
        state = self._carried_state.read(batch, self.training)
        with self._autocast(batch):
            result = self.language_model.exact_loss(batch, state, self.exact_chunk_size)
        forward_sum = result.forward_nll.sum(dtype=torch.double)
        backward_sum = None if result.backward_nll is None else result.backward_nll.sum(dtype=torch.double)
        output = {"loss": self._finish(batch, forward_sum, backward_sum, result.state, is_sampled=False)}
        if batch.row_order is not None:
            log_probs = sentence_log_probs(
                result.forward_nll, result.backward_nll, batch.lengths, batch.mask, batch.row_order
            )
            output.update({name: tensor for name, tensor in log_probs._asdict().items() if tensor is not None})
        return output

    def _finish(
        self,
        batch: LanguageModelBatch,
        forward_sum: torch.Tensor,
        backward_sum: Optional[torch.Tensor],
        state: BiLMState,
        is_sampled: bool,
    ) -> torch.Tensor:
        """Return the loss of `batch`, and add the batch to state and metrics unless it is skipped."""
        if not self.training:
            loss = mean_loss(forward_sum, backward_sum, sum(batch.batch_sizes))
        else:
            loss = training_loss(self, batch, forward_sum, backward_sum, self.options.unroll_steps)
            if self._skips(loss):
                return skipped_loss(self, loss)
        self._carried_state.keep(batch, self.training, state)
        self._metrics.add(forward_sum, backward_sum, sum(batch.batch_sizes), is_sampled)
        return loss

    def _autocast(self, batch: LanguageModelBatch) -> AbstractContextManager[Any]:
        return products_in(self.precision if self.training else "fp32", batch.lengths.device)

    def _check_gradient_all_reduce(self) -> None:
        if not all(is_all_reduced_by_rows(parameter) for parameter in self.language_model.sparse_parameters()):
            raise ConfigurationError(
                'distributed training of the model "bilm" needs AllenNLP\'s trainer or the optimizer "bilm", which average the '
                "gradient of the softmax over the processes; or set `sample_softmax` to false"
            )

    def _skips(self, loss: torch.Tensor) -> bool:
        """Return whether the batch of `loss` is skipped, after `on_nonfinite_loss` was called."""
        if self.on_nonfinite_loss is None:
            return False
        # The processes of a distributed training skip a batch together, or fail together.
        value = dist_reduce_sum(loss.item())
        if math.isfinite(value):
            return False
        self.on_nonfinite_loss(value)
        return True

    # AllenNLP's own results are of this type too; its annotation promises tensors.
    @overrides(check_signature=False)
    def make_output_human_readable(self, output_dict: dict[str, Any]) -> dict[str, Any]:
        """Return `output_dict` with each sentence's row of log-probabilities cut to the length of the sentence."""
        for key in ("forward_log_probs", "backward_log_probs"):
            if key in output_dict:
                output_dict[key] = [row[:length] for row, length in zip(output_dict[key], output_dict["num_targets"])]
        return output_dict

    def reset_states(self) -> None:
        """Drop the states of training and of evaluation, as at the beginning of a text."""
        self._carried_state = CarriedState()

    def state_to_resume(self) -> dict[str, Any]:
        """Return what a training needs beside the weights to continue: the LSTM's state, or None, and the metrics' sums."""
        return {"lstm": self._carried_state.state_dict(), **self._metrics.state_dict()}

    def resume(self, state: dict[str, Any]) -> None:
        """Restore `state`, which `state_to_resume` returned, on the device of the weights."""
        self._carried_state.load_state_dict(state["lstm"], self._device())
        self._metrics.load_state_dict(state)

    @overrides
    def train(self, mode: bool = True) -> "BilmModel":
        """Switch between training and evaluation, and drop the state of evaluation."""
        # The trainer calls nothing else between two passes over held-out text.
        self._carried_state.evaluation = None
        return super().train(mode)

    @overrides
    def get_metrics(self, reset: bool = False) -> dict[str, float]:
        """Return sampled perplexities in training, exact ones where the softmax is exact, and `tokens_per_second`.

        With `reset`, at the end of an epoch of a distributed training, they are those of all processes, which must call this
        method together; otherwise those of this process. In evaluation each process reads the whole text.
        """
        is_sampled = self.training and self._sampler is not None
        return self._metrics.read(self.training, is_sampled, self._device(), reset)

    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def find_leaks(self) -> list[Leak]:
        """Return the ways in which a direction sees the words it must predict; see `training.leak_check`."""
        return find_leaks(self.language_model)
