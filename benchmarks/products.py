"""
The matrix products of a job and nothing else: what the job would take on this machine if all the rest were free.

A product of (m, k) by (k, n) is m * k * n multiply-adds, 2 floating-point operations each. Backward it is two products of the
same size: the gradient of each factor.
"""

from collections.abc import Sequence

import numpy as np
import torch

from allennlp_elmo_plus.data.batching.window_batcher import LanguageModelBatch
from allennlp_elmo_plus.data.text.characters import PADDING_ID
from allennlp_elmo_plus.kernels.gemm.linear import linear, matmul_tn, pad_rows_to_multiple
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

Shape = tuple[int, int, int]


class Products:
    """
    Runs float32 products of `shapes` (m, k, n), and with `backward` those of their gradients, on factors of its own, by the library
    that this package takes on this processor and on as many rows as it likes best.
    """

    def __init__(self, shapes: Sequence[Shape], backward: bool = False) -> None:
        self._shapes = list(shapes)
        self._backward = backward
        self._factors = {
            (m, k, n): (
                pad_rows_to_multiple(torch.rand(m, k)),
                torch.rand(k, n),
                pad_rows_to_multiple(torch.rand(m, n)),
            )
            for m, k, n in set(self._shapes)
        }

    @property
    def flops(self) -> float:
        return 2.0 * sum(m * k * n for m, k, n in self._shapes) * (3 if self._backward else 1)

    def __call__(self) -> None:
        for shape in self._shapes:
            left, right, gradient = self._factors[shape]
            linear(left, right)
            if self._backward:
                linear(gradient, right.t())
                matmul_tn(left, gradient)


def lstm_shapes(options: BiLMOptions, num_tokens: int) -> list[Shape]:
    """
    The LSTM stacks over `num_tokens` tokens, all steps at once as if nothing recurred: for each token, layer and direction
    (input + projection) * 4 * cell + cell * projection multiply-adds.
    """
    lstm, num_directions = options.lstm, 2 if options.bidirectional else 1
    layer: list[Shape] = [(num_tokens, 2 * lstm.projection_dim, 4 * lstm.dim)]
    if lstm.has_projection:
        layer.append((num_tokens, lstm.dim, lstm.projection_dim))
    return layer * (lstm.n_layers * num_directions)


def word_shapes(options: BiLMOptions, characters: np.ndarray) -> list[Shape]:
    """The encoding of distinct words, `characters` (U, C): each distinct window of characters meets each filter once."""
    cnn = options.char_cnn
    assert cnn is not None
    num_words, num_windows = len(characters), count_windows(characters, max(width for width, _ in cnn.filters))
    shapes: list[Shape] = [(num_windows, width * cnn.embedding_dim, number) for width, number in cnn.filters]
    shapes += [(num_words, cnn.n_filters, cnn.n_filters)] * (2 * cnn.n_highway)
    if cnn.n_filters != options.lstm.projection_dim:
        shapes.append((num_words, cnn.n_filters, options.lstm.projection_dim))
    return shapes


def count_windows(characters: np.ndarray, width: int) -> int:
    """Distinct windows of `width` characters in the words (U, C), up to each word's first window of nothing but padding."""
    padded = np.pad(characters, ((0, 0), (0, width)), constant_values=PADDING_ID)
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    lengths = (characters != PADDING_ID).sum(axis=1)
    needed = np.arange(windows.shape[1]) <= lengths[:, None]
    return len(np.unique(windows[needed], axis=0))


def training_shapes(options: BiLMOptions, batch: LanguageModelBatch) -> list[Shape]:
    """A training step on `batch`: distinct words once, both LSTM stacks, and each direction's sampled softmax."""
    num_tokens = int(batch.lengths.sum())
    softmax: Shape = (num_tokens, options.lstm.projection_dim, options.n_negative_samples_batch)
    directions = 2 if options.bidirectional else 1
    return [
        *word_shapes(options, batch.characters.numpy()),
        *lstm_shapes(options, num_tokens),
        *[softmax] * directions,
    ]
