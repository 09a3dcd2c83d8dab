"""The lines about a run that the callback `bilm_plan` logs: text, model, results, epochs."""

import logging
import math
from collections.abc import Mapping
from typing import Any, Optional

from allennlp_elmo_plus.errors import count_in_words, format_duration
from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.terminal import format_perplexity

logger = logging.getLogger(__name__)

# Fewer tokens give a model to try things out with.
_LITTLE_TEXT = 1_000_000


def text_lines(loader: BilmDataLoader, held_out: Any) -> list[str]:
    """Return a line about each text, and one more where the training text is little."""
    lines = [f"text: {_describe_text(loader)}"]
    if isinstance(held_out, BilmDataLoader):
        lines.append(f"held-out text: {_describe_text(held_out)}")
    if loader.num_positions < _LITTLE_TEXT:
        lines.append("this is little text, enough to try things out; good vectors need a million words or more")
    return lines


def _describe_text(loader: BilmDataLoader) -> str:
    num_sentences = loader.num_sentences
    num_words = loader.num_positions - num_sentences
    return f"{loader.data_path}, {count_in_words(num_sentences, 'sentence')}, {count_in_words(num_words, 'word')}"


def model_lines(model: BilmModel) -> list[str]:
    """Return the lines about the parts of `model` and the numbers of their parameters."""
    options, softmax = model.options, model.language_model.softmax
    lstm, cnn = options.lstm, options.char_cnn
    words = "a vector for each word" if cnn is None else f"{cnn.n_filters:,} character filters"
    cell = f"{lstm.dim:,} cells projected to {lstm.projection_dim:,}" if lstm.has_projection else f"{lstm.dim:,} cells"
    total = sum(parameter.numel() for parameter in model.parameters())
    in_softmax = sum(parameter.numel() for parameter in softmax.parameters())
    return [
        f"model: {words}, {lstm.n_layers} {lstm.cell_key.upper().replace('_', ' ')} layers of {cell}, "
        f"{'both directions' if options.bidirectional else 'forward only'}",
        f"parameters: {total:,}, of these {in_softmax:,} in the softmax over {count_in_words(len(softmax.bias), 'word')}",
    ]


def result_lines(serialization_dir: str, has_checkpoints: bool) -> list[str]:
    """Return the lines about the directory of the results, and how an interrupted run is continued."""
    lines = [f"results: {serialization_dir} (model.tar.gz at the end; out.log; curves in log/, for TensorBoard)"]
    if has_checkpoints:
        lines.append("after an interruption the same command with --recover continues from the last checkpoint")
    return lines


def log_epoch(
    metrics: Mapping[str, Any], epoch: int, num_epochs: int, seconds_left: Optional[float], vocab_size: int
) -> None:
    """Log the perplexities of `epoch`, counted from 0, that are in the `metrics`; warn of one that exceeds `vocab_size`.

    A model that predicts nothing at all, with the same probability for every word, has a perplexity of `vocab_size`.
    """
    name = f"epoch {epoch + 1} of {num_epochs}"
    for kind in ("sampled_perplexity", "perplexity"):
        if f"training_{kind}" in metrics:
            left = f"; about {format_duration(seconds_left)} left" if seconds_left else ""
            perplexity = format_perplexity(metrics[f"training_{kind}"])
            logger.info("%s: %s %s in training%s", name, kind.replace("_", " "), perplexity, left)
    if "validation_perplexity" in metrics:
        directions = [
            f"{direction} {format_perplexity(metrics[f'validation_{direction}_perplexity'])}"
            for direction in ("forward", "backward")
            if f"validation_{direction}_perplexity" in metrics
        ]
        logger.info(
            "%s: held-out perplexity %s%s%s",
            name,
            format_perplexity(metrics["validation_perplexity"]),
            f" ({', '.join(directions)})" if directions else "",
            ", the best so far" if metrics.get("best_epoch") == epoch else "",
        )
        for direction in ("forward", "backward"):
            if metrics.get(f"validation_{direction}_perplexity", 0.0) > vocab_size:
                logger.warning(
                    "the %s direction predicts held-out text worse than an equal guess among all %s: from a state of zeros its LSTM "
                    "may fall into a state that training never sees. With little text train by sentences, as sentences.jsonnet does",
                    direction,
                    count_in_words(vocab_size, "word"),
                )


def position_line(trainer: Any, steps_per_epoch: int) -> Optional[str]:
    """Return the line about the position from which a restored `trainer` continues; None for a run from the beginning."""
    epochs, steps = trainer._start_after_epochs_completed, trainer._start_after_batches_in_epoch_completed
    if not epochs and not steps:
        return None
    return f"continued: after {count_in_words(epochs, 'whole epoch')} and {steps:,} of {steps_per_epoch:,} steps of the next"


def steps_per_epoch(trainer: Any) -> int:
    """Return the number of updates of the weights in an epoch of `trainer`."""
    return math.ceil(len(trainer.data_loader) / trainer._num_gradient_accumulation_steps)
