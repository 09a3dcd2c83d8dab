"""An estimate of the memory of a training step from the sizes of model and batch."""

from typing import NamedTuple

from allennlp_elmo_plus.kernels.softmax.sampled_softmax import ACCELERATOR_BLOCK_LOGITS, CPU_BLOCK_LOGITS
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.options.cells import CELLS

_FLOAT = 4
_INDEX = 8

# At most about this share of the words of an English batch is distinct, plus a constant for small batches.
_DISTINCT_SHARE = 0.5
_DISTINCT_LEAST = 100
# Memory of the allocator divided by the tensors of a step: tensors of changing sizes leave gaps.
_FRAGMENTATION = 1.2
# Distinct character n-grams per distinct word.
_NGRAMS_PER_WORD = 5


class TrainingMemory(NamedTuple):
    """Bytes that are allocated at the peak of a training step."""

    weights: int
    optimizer: int  # the optimizer's sums
    gradients: int  # of all parameters but the softmax's
    activations: int  # saved for the backward pass, and temporary in it
    softmax: int  # logits, gathered rows, and their gradients

    @property
    def total(self) -> int:
        """Return the bytes of all parts."""
        return sum(self)


class _Stage(NamedTuple):
    """The bytes of one part of the model."""

    saved: float  # from the forward pass until the end of this part's backward pass
    temporary: float  # during the backward pass; of the softmax, during the forward pass
    gradients: float  # from the backward pass until the end of the optimizer's step


def estimate_training_memory(
    options: BiLMOptions,
    vocab_size: int,
    batch_size: int,
    num_steps: int,
    sums_per_weight: int = 1,
    on_accelerator: bool = False,
    dense_gradients: bool = False,
) -> TrainingMemory:
    """Return the peak memory of a training step in single precision.

    The tensors of a training step are counted; the program and its libraries are not. The number of distinct words in a batch is
    a guess from English text.

    Args:
        options: The options of the model.
        vocab_size: V.
        batch_size: B, the lanes of a batch.
        num_steps: T, the positions of a lane in a batch.
        sums_per_weight: Numbers that the optimizer holds per weight: 1 for Adagrad.
        on_accelerator: Whether the model is on a GPU, where the recurrent layers copy their weights.
        dense_gradients: Whether sparse gradients are made dense before the optimizer's step.
    """
    parameters = _parameter_counts(options, vocab_size)
    stages = [
        _softmax(options, vocab_size, batch_size * num_steps, on_accelerator),
        *[_lstm_layer(options, batch_size, num_steps, parameters["lstm"], on_accelerator)] * options.lstm.n_layers,
        _token_encoder(options, batch_size * num_steps, parameters["encoder"]),
    ]
    # The backward pass runs through the stages in this order: saved bytes decrease, gradients increase.
    at_peak = max(range(len(stages)), key=lambda current: _allocated(stages, current))
    softmax, layers = stages[0], stages[1:]
    activations = sum(stage.saved for stage in layers[max(0, at_peak - 1) :])
    activations += (at_peak > 0) * stages[at_peak].temporary
    weights = _FLOAT * sum(parameters.values())
    words = parameters["softmax"] + (parameters["encoder"] if options.char_cnn is None else 0)
    # Allocated after the backward pass, in addition to the sparse gradients.
    dense = _FLOAT * words if dense_gradients and options.sample_softmax else 0
    return TrainingMemory(
        weights=weights,
        optimizer=sums_per_weight * weights,
        gradients=int(sum(stage.gradients for stage in stages[1 : at_peak + 1])),
        activations=int(_FRAGMENTATION * activations),
        softmax=int(dense + softmax.gradients + (softmax.saved + softmax.temporary if at_peak == 0 else 0)),
    )


def _allocated(stages: list[_Stage], current: int) -> float:
    """Return the bytes that are allocated in the backward pass of the stage with the index `current`."""
    saved = sum(stage.saved for stage in stages[current:])
    return saved + stages[current].temporary + sum(stage.gradients for stage in stages[: current + 1])


def _parameter_counts(options: BiLMOptions, vocab_size: int) -> dict[str, int]:
    width = options.lstm.projection_dim
    counts = options.parameter_counts()
    shared = options.char_cnn is None and options.share_embedding_softmax
    encoder = sum(counts[key] for key in counts if key.startswith("`char_cnn"))
    if options.char_cnn is None and not shared:
        encoder = vocab_size * width
    return {"lstm": counts["`lstm`"], "encoder": encoder, "softmax": vocab_size * (width + 1)}


def _num_distinct(num_tokens: int) -> float:
    return min(num_tokens, _DISTINCT_SHARE * num_tokens + _DISTINCT_LEAST)


def _softmax(options: BiLMOptions, vocab_size: int, num_tokens: int, on_accelerator: bool) -> _Stage:
    """Return the bytes of `kernels.softmax.sampled_softmax` or `kernels.softmax.exact_softmax`."""
    width, directions = options.lstm.projection_dim, 1 + options.bidirectional
    hidden = num_tokens * width * _FLOAT
    if not options.sample_softmax:
        gradients = vocab_size * (width + 1) * _FLOAT
        return _Stage(saved=directions * hidden, temporary=2 * hidden + gradients, gradients=gradients)
    num_samples = options.n_negative_samples_batch
    block = ACCELERATOR_BLOCK_LOGITS if on_accelerator else CPU_BLOCK_LOGITS
    logits = min(num_tokens * num_samples, max(num_samples, block)) * _FLOAT
    unsampled_targets = min(_num_distinct(num_tokens), vocab_size)
    rows = (num_samples + unsampled_targets) * (width + 1) * _FLOAT
    # The forward pass computes the gradients of hidden states and rows, and saves them.
    saved = directions * (hidden + rows)
    temporary = directions * (logits + rows + 2 * hidden)
    # Sorted copies per direction, and their sum, which the optimizer makes.
    return _Stage(saved, temporary, gradients=2 * directions * (rows + (num_samples + unsampled_targets) * _INDEX))


def _lstm_layer(
    options: BiLMOptions, batch_size: int, num_steps: int, num_parameters: int, on_accelerator: bool
) -> _Stage:
    """Return the bytes of one recurrent layer in all directions."""
    lstm, directions, num_tokens = options.lstm, 1 + options.bidirectional, batch_size * num_steps
    cell, width = lstm.dim, lstm.projection_dim
    saved = num_tokens * CELLS[lstm.cell_key].saved_widths * cell + batch_size * cell
    saved += (num_tokens + batch_size) * width
    if lstm.has_projection:
        saved += num_tokens * cell
    # The layer's input, and the mask of dropout, a byte per number.
    saved += num_tokens * width * 5 // 4 if options.dropout else num_tokens * width
    temporary = num_tokens * (4 * cell + 5 * width) + width * 4 * cell
    layer = num_parameters / lstm.n_layers
    copies = layer * _FLOAT if on_accelerator else 0
    return _Stage(_FLOAT * directions * saved + copies, _FLOAT * directions * temporary, _FLOAT * layer)


def _token_encoder(options: BiLMOptions, num_tokens: int, num_parameters: int) -> _Stage:
    width, num_words = options.lstm.projection_dim, _num_distinct(num_tokens)
    # Each direction gathers its own rows from the table of distinct words.
    rows = num_tokens * width * (1 + options.bidirectional)
    if options.char_cnn is None:
        gradients = num_words * width if options.sample_softmax else num_parameters
        return _Stage(_FLOAT * rows, _FLOAT * rows, _FLOAT * gradients)
    filters = options.char_cnn.n_filters
    widest_group = max(number for _, number in options.char_cnn.filters)
    widest_filter = max(filter_width for filter_width, _ in options.char_cnn.filters)
    ngrams = num_words * _NGRAMS_PER_WORD * (widest_group + 3 * options.char_cnn.embedding_dim * widest_filter)
    saved = rows + num_words * filters * (3 + 5 * options.char_cnn.n_highway)
    return _Stage(_FLOAT * saved, _FLOAT * (2 * ngrams + 4 * num_words * filters), _FLOAT * num_parameters)
