"""How much memory training will take, from the sizes alone."""

from typing import NamedTuple

from allennlp_elmo_plus.kernels.softmax.sampled_softmax import ACCELERATOR_BLOCK_LOGITS, CPU_BLOCK_LOGITS
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.options.cells import CELLS

_FLOAT = 4
_INDEX = 8

# Of a batch of real text at most about so many words are distinct.
_DISTINCT_SHARE = 0.5
_DISTINCT_LEAST = 100
# What comes and goes with every batch leaves gaps: allocators hold about so much for it.
_SLACK = 1.2
# Distinct windows of characters for each distinct word.
_WINDOWS_A_WORD = 5


class TrainingMemory(NamedTuple):
    """Bytes held at the moment of a training step that holds the most."""

    weights: int
    optimizer: int  # its sums
    gradients: int  # all but the softmax's
    activations: int  # what the forward pass keeps, and what the backward pass computes with
    softmax: int  # logits, rows gathered, and their gradients

    @property
    def total(self) -> int:
        return sum(self)


class _Stage(NamedTuple):
    """A part of the model, by bytes."""

    kept: float  # from the forward pass until this part's backward pass is over
    working: float  # during the backward pass (the softmax: during the forward one)
    gradients: float  # from the backward pass until the optimizer is done


def estimate_training_memory(
    options: BiLMOptions,
    vocab_size: int,
    batch_size: int,
    num_steps: int,
    sums_per_weight: int = 1,
    on_accelerator: bool = False,
    dense_gradients: bool = False,
) -> TrainingMemory:
    """The peak of a training step in single precision: batches of `batch_size` (B) times `num_steps` (T) positions, an optimizer that
    keeps `sums_per_weight` numbers a weight (1: Adagrad). On a GPU the LSTM's weights are counted once more, for its directions'
    batched copies. With `dense_gradients`, those of the softmax and of word vectors are made dense before the optimizer reads them.

    What is counted are the tensors that `core`'s training step makes. How many of a batch's words are distinct is a guess, made
    from English text, and so is, for recurrences other than the plain LSTM, what autograd keeps of a step. The program and its
    libraries are not counted.
    """
    parameters = _parameter_counts(options, vocab_size)
    stages = [
        _softmax(options, vocab_size, batch_size * num_steps, on_accelerator),
        *[_lstm_layer(options, batch_size, num_steps, parameters["lstm"], on_accelerator)] * options.lstm.n_layers,
        _token_encoder(options, batch_size * num_steps, parameters["encoder"]),
    ]
    # The backward pass goes through the stages in this order: what is kept falls, what are gradients rises.
    at_peak = max(range(len(stages)), key=lambda now: _held(stages, now))
    softmax, others = stages[0], stages[1:]
    activations = sum(stage.kept for stage in others[max(0, at_peak - 1) :]) + (at_peak > 0) * stages[at_peak].working
    weights = _FLOAT * sum(parameters.values())
    words = parameters["softmax"] + (parameters["encoder"] if options.char_cnn is None else 0)
    # Made when the backward pass has ended, beside the sparse ones.
    dense = _FLOAT * words if dense_gradients and options.sample_softmax else 0
    return TrainingMemory(
        weights=weights,
        optimizer=sums_per_weight * weights,
        gradients=int(sum(stage.gradients for stage in stages[1 : at_peak + 1])),
        activations=int(_SLACK * activations),
        softmax=int(dense + softmax.gradients + (softmax.kept + softmax.working if at_peak == 0 else 0)),
    )


def _held(stages: list[_Stage], now: int) -> float:
    kept = sum(stage.kept for stage in stages[now:])
    return kept + stages[now].working + sum(stage.gradients for stage in stages[: now + 1])


def _parameter_counts(options: BiLMOptions, vocab_size: int) -> dict[str, int]:
    width = options.lstm.projection_dim
    known = options.parameter_counts()
    shared = options.char_cnn is None and options.share_embedding_softmax
    encoder = sum(known[key] for key in known if key.startswith("`char_cnn"))
    if options.char_cnn is None and not shared:
        encoder = vocab_size * width
    return {"lstm": known["`lstm`"], "encoder": encoder, "softmax": vocab_size * (width + 1)}


def _num_directions(options: BiLMOptions) -> int:
    return 2 if options.bidirectional else 1


def _num_distinct(num_tokens: int) -> float:
    return min(num_tokens, _DISTINCT_SHARE * num_tokens + _DISTINCT_LEAST)


def _softmax(options: BiLMOptions, vocab_size: int, num_tokens: int, on_accelerator: bool) -> _Stage:
    """See `kernels.softmax.sampled_softmax` and `kernels.softmax.exact_softmax`."""
    width, directions = options.lstm.projection_dim, _num_directions(options)
    hidden = num_tokens * width * _FLOAT
    if not options.sample_softmax:
        gradients = vocab_size * (width + 1) * _FLOAT
        return _Stage(kept=directions * hidden, working=2 * hidden + gradients, gradients=gradients)
    num_samples = options.n_negative_samples_batch
    block = ACCELERATOR_BLOCK_LOGITS if on_accelerator else CPU_BLOCK_LOGITS
    logits = min(num_tokens * num_samples, max(num_samples, block)) * _FLOAT
    missed = min(_num_distinct(num_tokens), vocab_size)
    rows = (num_samples + missed) * (width + 1) * _FLOAT
    # Computed in the forward pass: gradients of hidden states and rows, out of the rows' weights and the missed targets'.
    kept = directions * (hidden + rows)
    working = directions * (logits + rows + 2 * hidden)
    # Sorted copies of both directions, side by side until the optimizer adds them up into a third.
    return _Stage(kept, working, gradients=2 * directions * (rows + (num_samples + missed) * _INDEX))


def _lstm_layer(
    options: BiLMOptions, batch_size: int, num_steps: int, num_parameters: int, on_accelerator: bool
) -> _Stage:
    """One layer, all directions; see `kernels.lstm.clipped_lstm`, `modules.recurrent.lstm_layer_norm` and
    `modules.recurrent.gru_rnn`.
    """
    lstm, directions, num_tokens = options.lstm, _num_directions(options), batch_size * num_steps
    cell, width = lstm.dim, lstm.projection_dim
    kept = num_tokens * CELLS[lstm.cell_key].saved_widths * cell + batch_size * cell + (num_tokens + batch_size) * width
    if lstm.has_projection:
        kept += num_tokens * cell
    # The layer's input, and where dropout fell on it.
    kept += num_tokens * width * 5 // 4 if options.dropout else num_tokens * width
    working = num_tokens * (4 * cell + 5 * width) + width * 4 * cell
    layer = num_parameters / lstm.n_layers
    copies = layer * _FLOAT if on_accelerator else 0
    return _Stage(_FLOAT * directions * kept + copies, _FLOAT * directions * working, _FLOAT * layer)


def _token_encoder(options: BiLMOptions, num_tokens: int, num_parameters: int) -> _Stage:
    width, num_words = options.lstm.projection_dim, _num_distinct(num_tokens)
    # Each direction's rows of the table of distinct words.
    rows = num_tokens * width * _num_directions(options)
    if options.char_cnn is None:
        gradients = num_words * width if options.sample_softmax else num_parameters
        return _Stage(_FLOAT * rows, _FLOAT * rows, _FLOAT * gradients)
    filters = options.char_cnn.n_filters
    widest_group = max(number for _, number in options.char_cnn.filters)
    widest_filter = max(filter_width for filter_width, _ in options.char_cnn.filters)
    windows = num_words * _WINDOWS_A_WORD * (widest_group + 3 * options.char_cnn.embedding_dim * widest_filter)
    kept = rows + num_words * filters * (3 + 5 * options.char_cnn.n_highway)
    return _Stage(_FLOAT * kept, _FLOAT * (2 * windows + 4 * num_words * filters), _FLOAT * num_parameters)
