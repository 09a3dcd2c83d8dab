"""The model `bilm`."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Optional

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import TextFieldTensors, Vocabulary
from allennlp.models import Model
from allennlp.nn.util import dist_reduce_sum

from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.sentence_batch import batch_from_sentences
from allennlp_elmo_plus.data.batching.window_batcher import LanguageModelBatch
from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.formats.transfer import carry_over, read_pretrained
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample
from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.modules.language_model import unpack
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.data.vocabulary import TOKENS_NAMESPACE, words_of
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.plugin.training.metrics.bilm_perplexity import BilmPerplexity
from allennlp_elmo_plus.training.distributed.sparse_gradients import (
    exclude_from_ddp,
    is_all_reduced_by_rows,
    is_excluded_from_ddp,
)
from allennlp_elmo_plus.training.distributed.world import world
from allennlp_elmo_plus.training.leak_check import Leak, find_leaks
from allennlp_elmo_plus.training.loss import mean_loss, touch_parameters, training_loss
from allennlp_elmo_plus.training.throughput import Throughput

logger = logging.getLogger(__name__)


@Model.register("bilm")
class BilmModel(StrictFromParams, Model):
    """The bidirectional language model of Peters et al. 2018, trained as bilm-tf trains it; see `modules.language_model`.

    Takes two kinds of batch: `batch`, windows of running text from the data loader "bilm", whose LSTM state goes on from one
    batch to the next, or whole sentences from "bilm_sentences"; or `source`, the padded sentences that the dataset reader
    "bilm" gives any other loader and the predictor. Whole and padded sentences start from a zero state each.

    In training the loss is the sampled softmax's and the perplexity it gives is called `sampled_perplexity`; it lies far below the
    real one. In evaluation, and with `sample_softmax` false, the softmax is exact: `perplexity` is the geometric mean of
    `forward_perplexity` and `backward_perplexity`. `loss` is 0.5 * (forward + backward) nats a target; its gradient is that of
    loss * `unroll_steps`, as in bilm-tf. In the last windows of an epoch, in which some lanes have ended, it is the mean over the
    targets that remain, in distributed training those of all processes.

    Training and evaluation each carry their own state, dropped by `reset_states()`; every switch to evaluation starts it from zero.
    The state is no part of the weights and is not saved with them.

    Where the loss of a training batch is not finite and `on_nonfinite_loss` is set, that is called with the loss. If it returns,
    the batch leaves no trace: the loss becomes a 0 of which no parameter has a gradient, and state and metrics stay as they were.

    Registered as a `Model` with name "bilm". Every option of bilm-tf's options.json is an argument with its meaning, so that a file
    can be imported into a config as it is.

    # Parameters

    lstm : `Dict[str, Any]`
        `dim`, `projection_dim`, `n_layers` (1), `cell_clip`, `proj_clip` (no clip), `use_skip_connections` (false). Beyond
        bilm-tf's: `cell` ("lstm", or "gru" or "rnn"), `layer_norm` (false), see `modules.recurrent.gru_rnn` and
        `modules.recurrent.lstm_layer_norm`.
    char_cnn : `Dict[str, Any]`, optional
        `embedding: {dim}`, `filters`, `activation` ("relu" or "tanh"), `max_characters_per_token` (50), `n_highway` (0),
        `n_characters` (261). Left out, words have embeddings of their own.
    bidirectional : `bool`, optional (default = `False`)
    dropout : `float`, optional (default = `0.0`)
        On the input of every LSTM layer and on the top layer's output.
    n_negative_samples_batch : `int`, optional (default = `8192`)
        Negative samples for each direction. A data loader that draws them must be given the same number.
    sample_softmax : `bool`, optional (default = `True`)
    share_embedding_softmax : `bool`, optional (default = `False`)
        One matrix for the word embedding and the softmax; word input only.
    unroll_steps : `int`, optional (default = `20`)
        What the gradient is multiplied by; the `num_steps` of the data loader.
    n_tokens_vocab : `int`, optional
        Checked against the vocabulary's size.
    batch_size, n_epochs, n_train_tokens, all_clip_norm_val, learning_rate : optional
        In AllenNLP the data loader, the trainer and the optimizer decide these. They are accepted and exported again, so that
        options.json stays whole.
    exact_chunk_size : `int`, optional (default = `1024`)
        Words of the vocabulary whose logits the exact softmax holds at once: memory is bounded by it, not by the vocabulary.
    precision : `str`, optional (default = `"fp32"`)
        `"bf16"` has the matrix products of training in bfloat16; weights, gradients, the cell, the
        state carried and the loss stay in float32, and evaluation is all in float32.
    pretrained_file : `str`, optional
        What to start from, for fine-tuning: the model.tar.gz of a model "bilm" with the same options, or its weights.hdf5 with its
        vocab.txt beside it. A path or a URL. The rows of the softmax, and of a word embedding, are carried over by word, those of
        new words are fresh; without an old softmax all are. AllenNLP leaves this out when it loads an archive.
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
        super().__init__(vocab)
        if exact_chunk_size < 1:
            raise ConfigurationError(f"`exact_chunk_size` must be at least 1, got {exact_chunk_size}")
        if precision not in ("fp32", "bf16"):
            raise ConfigurationError(f'`precision` must be "fp32" or "bf16", got "{precision}"')
        self.options = BiLMOptions.from_dict(
            {
                "lstm": lstm,
                "char_cnn": char_cnn,
                "bidirectional": bidirectional,
                "dropout": dropout,
                "n_negative_samples_batch": n_negative_samples_batch,
                "sample_softmax": sample_softmax,
                "share_embedding_softmax": share_embedding_softmax,
                "unroll_steps": unroll_steps,
                "n_tokens_vocab": n_tokens_vocab,
                "batch_size": batch_size,
                "n_epochs": n_epochs,
                "n_train_tokens": n_train_tokens,
                "all_clip_norm_val": all_clip_norm_val,
                "learning_rate": learning_rate,
            },
            source="model",
            inference=False,
        )
        # AllenNLP counts its padding token as an entry.
        vocab_size = vocab.get_vocab_size(TOKENS_NAMESPACE) - 1
        if sample_softmax and n_negative_samples_batch >= vocab_size:
            raise ConfigurationError(
                f"`n_negative_samples_batch` must be below the {vocab_size} words of the vocabulary, got "
                f"{n_negative_samples_batch}; or set `sample_softmax` to false"
            )
        self.language_model = build_language_model(self.options, vocab_size)
        if pretrained_file is not None:
            pretrained = read_pretrained(local_path(pretrained_file), self.options)
            carried = carry_over(self.language_model, pretrained, words_of(vocab), pretrained_file)
            logger.info("starting from %s: %s", pretrained_file, carried.describe())
        if sample_softmax:
            exclude_from_ddp(self, self.language_model.parameters_with_row_gradients())
        self.exact_chunk_size = exact_chunk_size
        self.precision = precision
        self._sampler = LogUniformSampler(vocab_size, n_negative_samples_batch) if sample_softmax else None
        self._training_state: Optional[BiLMState] = None
        self._evaluation_state: Optional[BiLMState] = None
        self._sampled = BilmPerplexity("sampled_perplexity")
        self._exact = BilmPerplexity()
        # Training and evaluation compile loops of their own.
        self._training_throughput, self._evaluation_throughput = Throughput(), Throughput()
        self._softmax_was_looked_at = False
        self.on_nonfinite_loss: Optional[Callable[[float], None]] = None

    def forward(  # type: ignore[override]
        self, batch: Optional[LanguageModelBatch] = None, source: Optional[TextFieldTensors] = None
    ) -> dict[str, Any]:
        """`batch`: B lanes from the data loader "bilm", or sentences from "bilm_sentences". `source`: B padded sentences, from any
        other; the output then also holds `forward_log_probs` and `backward_log_probs` (B, T), natural logarithms of each
        target's probability in the order of the sentence: `w1 .. wn </S>` forward, `<S> w1 .. wn` backward, and `num_targets`
        (B,), the n + 1 of each sentence.
        """
        if (batch is None) == (source is None):
            raise ConfigurationError("the model needs either `batch` or `source`")
        if batch is None:
            batch = self._batch_of_sentences(source)
        self._throughput().start_batch(sum(batch.batch_sizes))
        if self.training and self._sampler is not None:
            return self._sampled_loss(batch)
        return self._exact_loss(batch)

    def _sampled_loss(self, batch: LanguageModelBatch) -> dict[str, Any]:
        if world().num_processes > 1:
            self._check_row_exchange()
        with self._products_in_precision(batch):
            result = self.language_model.sampled_loss(batch, self._negatives(batch), self._state(batch))
        loss = self._loss(batch, result.forward_nll_sum, result.backward_nll_sum)
        if self._is_to_be_skipped(loss):
            return self._no_loss(loss)
        self._keep_state(batch, result.state)
        self._sampled(result.forward_nll_sum, result.backward_nll_sum, sum(batch.batch_sizes))
        return {"loss": loss}

    def _exact_loss(self, batch: LanguageModelBatch) -> dict[str, Any]:
        if not self.training and not self._softmax_was_looked_at:
            self._softmax_was_looked_at = True
            if self.language_model.softmax.is_zero_initialized:
                logger.warning(
                    "this model has no softmax, as it was imported from files without one: probabilities and perplexities are "
                    "those of guessing among its %d words; fine-tune it first",
                    len(self.language_model.softmax.bias),
                )
        with self._products_in_precision(batch):
            result = self.language_model.exact_loss(batch, self._state(batch), self.exact_chunk_size)
        forward_sum = result.forward_nll.sum(dtype=torch.double)
        backward_sum = None if result.backward_nll is None else result.backward_nll.sum(dtype=torch.double)
        loss = self._loss(batch, forward_sum, backward_sum)
        if self._is_to_be_skipped(loss):
            return self._no_loss(loss)
        self._keep_state(batch, result.state)
        self._exact(forward_sum, backward_sum, sum(batch.batch_sizes))
        output = {"loss": loss}
        if batch.row_order is not None:
            output.update(self._log_probs(batch, result.forward_nll, result.backward_nll))
        return output

    def _products_in_precision(self, batch: LanguageModelBatch) -> AbstractContextManager[Any]:
        if self.training and self.precision == "bf16":
            return torch.autocast(batch.lengths.device.type, torch.bfloat16)
        return nullcontext()

    def _check_row_exchange(self) -> None:
        parameters = self.language_model.parameters_with_row_gradients()
        if not all(is_all_reduced_by_rows(each) for each in parameters if each.requires_grad):
            raise ConfigurationError(
                'distributed training of the model "bilm" needs AllenNLP\'s trainer or the optimizer "bilm", which average the '
                "gradient of the softmax over the processes; or set `sample_softmax` to false"
            )

    def _is_to_be_skipped(self, loss: torch.Tensor) -> bool:
        if not self.training or self.on_nonfinite_loss is None:
            return False
        # The processes of a distributed training skip a batch together, or fail together.
        value = dist_reduce_sum(loss.item())
        if math.isfinite(value):
            return False
        self.on_nonfinite_loss(value)
        return True

    def _loss(
        self, batch: LanguageModelBatch, forward_sum: torch.Tensor, backward_sum: Optional[torch.Tensor]
    ) -> torch.Tensor:
        num_targets = sum(batch.batch_sizes)
        if not self.training:
            return mean_loss(forward_sum, backward_sum, num_targets)
        loss = training_loss(batch, forward_sum, backward_sum, self.options.unroll_steps)
        # A process whose lanes have ended, or that has no sentence left, has a batch without targets.
        return loss if num_targets else touch_parameters(loss, self._averaged_whole())

    def _no_loss(self, loss: torch.Tensor) -> dict[str, Any]:
        none = torch.zeros_like(loss, requires_grad=True)
        if world().num_processes > 1:
            none = touch_parameters(none, self._averaged_whole())
        return {"loss": none}

    def _averaged_whole(self) -> Iterator[torch.Tensor]:
        """The parameters whose gradients a `DistributedDataParallel` waits for."""
        return (each for each in self.parameters() if each.requires_grad and not is_excluded_from_ddp(each))

    def _log_probs(
        self, batch: LanguageModelBatch, forward_nll: torch.Tensor, backward_nll: Optional[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        assert batch.row_order is not None
        order = torch.argsort(batch.row_order)
        result = {
            "num_targets": batch.lengths[order],
            "forward_log_probs": -unpack(forward_nll, batch.mask)[order],
        }
        if backward_nll is not None:
            # Turned round within each sentence, from the direction's reading order into the sentence's.
            steps = torch.arange(batch.mask.shape[1], device=batch.lengths.device)
            mirrored = (batch.lengths[:, None] - 1 - steps).clamp(min=0)
            log_probs = -unpack(backward_nll, batch.mask).gather(1, mirrored) * batch.mask
            result["backward_log_probs"] = log_probs[order]
        return result

    def make_output_human_readable(self, output_dict: dict[str, Any]) -> dict[str, Any]:
        """Cuts each sentence's row of log-probabilities to its own length."""
        for key in ("forward_log_probs", "backward_log_probs"):
            if key in output_dict:
                output_dict[key] = [row[:length] for row, length in zip(output_dict[key], output_dict["num_targets"])]
        return output_dict

    def _batch_of_sentences(self, source: Optional[TextFieldTensors]) -> LanguageModelBatch:
        tensors = {name: tensor for indexed in (source or {}).values() for name, tensor in indexed.items()}
        indexers = {"tokens": "single_id"}
        if self.options.char_cnn is not None:
            indexers["elmo_tokens"] = "bilm_characters"
        for name, indexer in indexers.items():
            if name not in tensors:
                raise ConfigurationError(
                    f"the model needs a `{indexer}` token indexer in the reader, got {sorted(tensors)}"
                )
        return batch_from_sentences(tensors.get("elmo_tokens"), tensors["tokens"] - 1, tensors["tokens"] > 0)

    def _negatives(self, batch: LanguageModelBatch) -> tuple[NegativeSample, NegativeSample]:
        if batch.forward_negatives is not None and batch.backward_negatives is not None:
            drawn = len(batch.forward_negatives.ids)
            if drawn != self.options.n_negative_samples_batch:
                raise ConfigurationError(
                    "`n_negative_samples_batch` must be the same in the model and the data loader, got "
                    f"{self.options.n_negative_samples_batch} and {drawn}"
                )
            return batch.forward_negatives, batch.backward_negatives
        assert self._sampler is not None
        rng = np.random.default_rng(torch.randint(2**62, (2,)).tolist())
        device = batch.lengths.device
        forward, backward = (self._sampler.sample(rng) for _ in range(2))
        return tuple(  # type: ignore[return-value]
            sample._replace(ids=sample.ids.to(device), log_expected=sample.log_expected.to(device))
            for sample in (forward, backward)
        )

    def _state(self, batch: LanguageModelBatch) -> Optional[BiLMState]:
        if not batch.carries_state:
            return None
        state = self._training_state if self.training else self._evaluation_state
        if state is not None and state.hidden.shape[2] != len(batch.lengths):
            raise ConfigurationError(
                f"the state carried is of {state.hidden.shape[2]} lanes, got a batch of {len(batch.lengths)}: "
                "call `reset_states()` before a text in other lanes"
            )
        return state

    def _keep_state(self, batch: LanguageModelBatch, state: BiLMState) -> None:
        if not batch.carries_state:
            return
        if self.training:
            self._training_state = state.detach()
        else:
            self._evaluation_state = state.detach()

    def reset_states(self) -> None:
        """Has training and evaluation start from zero states again, as with a text that has not begun."""
        self._training_state = self._evaluation_state = None

    def state_to_resume(self) -> dict[str, Any]:
        """What the weights do not hold of a training that is to go on: the LSTM's state, or None, and the metrics' sums."""
        state = self._training_state
        return {
            "lstm": None if state is None else list(state),
            "sampled": self._sampled.state_dict(),
            "exact": self._exact.state_dict(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Takes up what `state_to_resume` gave, on the device that the weights are on."""
        device = next(self.parameters()).device
        lstm = state["lstm"]
        self._training_state = None if lstm is None else BiLMState(*(tensor.to(device) for tensor in lstm))
        self._sampled.load_state_dict(state["sampled"])
        self._exact.load_state_dict(state["exact"])

    def train(self, mode: bool = True) -> "BilmModel":
        """Switches between training and evaluation; the state of evaluation starts from zero each time."""
        # The trainer calls nothing else between two passes over held-out text.
        self._evaluation_state = None
        return super().train(mode)

    def get_metrics(self, reset: bool = False) -> dict[str, float]:
        """Sampled perplexities in training (unless the softmax is exact there too), exact ones in evaluation, and `tokens_per_second`,
        see `training.throughput`.

        With `reset` in distributed training, of what all processes did, which call it together at the end of an epoch; otherwise of
        this process. In evaluation each of them reads the whole text.
        """
        metric = self._sampled if self.training and self._sampler is not None else self._exact
        tokens_per_second = self._throughput().tokens_per_second()
        if reset and self.training and world().num_processes > 1:
            metric.sum_over_processes(next(self.parameters()).device)
            tokens_per_second = dist_reduce_sum(tokens_per_second)
        metrics = {**metric.get_metric(reset), "tokens_per_second": tokens_per_second}
        if reset:
            self._throughput().reset()
        return metrics

    def _throughput(self) -> Throughput:
        return self._training_throughput if self.training else self._evaluation_throughput

    def find_leaks(self) -> list[Leak]:
        """Ways in which a direction sees what it must predict; none, unless the model was changed. See `training.leak_check`."""
        return find_leaks(self.language_model)
