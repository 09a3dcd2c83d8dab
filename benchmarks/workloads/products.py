"""
The matrix products of a job alone: a lower limit of the job's time on this machine.

A product of (m, k) by (k, n) has m * k * n multiply-adds of 2 floating-point operations. Its backward pass has two products of the same
size, the gradients of the factors.
"""

from collections.abc import Sequence

import numpy as np
import torch

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.text.characters import PADDING_ID
from allennlp_elmo_plus.kernels.gemm.linear import linear, matmul_tn, pad_rows_to_multiple
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

Shape = tuple[int, int, int]


class Products:
    """
    A job that computes float32 products of `shapes` (m, k, n), and with `backward` those of their gradients.

    The factors are random. The library and the padding of rows are those that this package uses on this processor.
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
    Return the products of the LSTM stacks over `num_tokens` tokens, all steps at once: for each token, layer and direction
    (input + projection) * 4 * cell + cell * projection multiply-adds.
    """
    lstm, num_directions = options.lstm, 2 if options.bidirectional else 1
    layer: list[Shape] = [(num_tokens, 2 * lstm.projection_dim, 4 * lstm.dim)]
    if lstm.has_projection:
        layer.append((num_tokens, lstm.dim, lstm.projection_dim))
    return layer * (lstm.n_layers * num_directions)


def word_shapes(options: BiLMOptions, characters: np.ndarray) -> list[Shape]:
    """Return the products of encoding distinct words, `characters` (U, C): each distinct n-gram meets each filter once."""
    cnn = options.char_cnn
    assert cnn is not None
    num_words, num_ngrams = len(characters), count_ngrams(characters, max(width for width, _ in cnn.filters))
    shapes: list[Shape] = [(num_ngrams, width * cnn.embedding_dim, number) for width, number in cnn.filters]
    shapes += [(num_words, cnn.n_filters, cnn.n_filters)] * (2 * cnn.n_highway)
    if cnn.n_filters != options.lstm.projection_dim:
        shapes.append((num_words, cnn.n_filters, options.lstm.projection_dim))
    return shapes


def count_ngrams(characters: np.ndarray, width: int) -> int:
    """Count distinct n-grams of `width` characters in words (U, C), up to each word's first n-gram of padding only."""
    padded = np.pad(characters, ((0, 0), (0, width)), constant_values=PADDING_ID)
    ngrams = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    lengths = (characters != PADDING_ID).sum(axis=1)
    needed = np.arange(ngrams.shape[1]) <= lengths[:, None]
    return len(np.unique(ngrams[needed], axis=0))


def training_shapes(options: BiLMOptions, batch: LanguageModelBatch) -> list[Shape]:
    """Return the products of a training step on `batch`: distinct words, both LSTM stacks, sampled softmaxes."""
    num_tokens = int(batch.lengths.sum())
    softmax: Shape = (num_tokens, options.lstm.projection_dim, options.n_negative_samples_batch)
    directions = 2 if options.bidirectional else 1
    return [
        *word_shapes(options, batch.characters.numpy()),
        *lstm_shapes(options, num_tokens),
        *[softmax] * directions,
    ]
