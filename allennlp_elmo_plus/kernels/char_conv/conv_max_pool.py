"""The convolution over a word's characters and its maximum over all positions.

Two words that share a piece of spelling share the n-grams within it: about half of a batch's n-grams of seven characters are
distinct. So each filter is applied once to each distinct n-gram, in one matrix product for all filters of a width, and the maximum
over a word's positions reads from the result. The forward pass saves the n-gram that has each maximum; the backward pass adds each
gradient to that n-gram and ends in two matrix products of the same size.
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.backend import run
from allennlp_elmo_plus.kernels.char_conv import reference
from allennlp_elmo_plus.kernels.char_conv._max_over_positions import max_over_positions
from allennlp_elmo_plus.kernels.char_conv._ngrams import Ngrams, find_ngrams, sort_by_length
from allennlp_elmo_plus.kernels.gemm.linear import addmm_, linear, matmul_tn
from allennlp_elmo_plus.kernels.threads import balanced_groups, num_threads, run_in_threads

# Maximum load imbalance: the work of the busiest thread divided by the mean.
MAX_IMBALANCE = 1.3


def conv_max_pool(
    characters: Tensor,
    embedding: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    buckets: Optional[Sequence[tuple[int, int]]] = None,
) -> Tensor:
    """Return the maximum of each filter over all positions of each word, (U, num_filters).

    Products are in the weights' type, under autocast too. A maximum at several positions has the gradient of the first. There is no
    gradient of a gradient: it raises a `RuntimeError`, except with the backend `reference`.

    Args:
        characters: Character ids from 1 to A, (U, C), U at least 1. The highest id is padding.
        embedding: Vector of each character, (A, d); row 0 belongs to id 1.
        weights: Filters of each width, (number of filters, d, width).
        biases: Bias of each filter, (number of filters,).
        buckets: (end row, length) pairs, both ascending: the rows up to `end row`, from the bucket before, hold padding alone from
            column `length` on. None: words may come in any order, and are sorted by length first. Buckets that do not fit the words
            raise a `ValueError`.
    """
    with torch.autocast(characters.device.type, enabled=False):
        implementations = {
            "torch": lambda: _conv_max_pool(characters, embedding, weights, biases, buckets),
            "reference": lambda: reference.conv_max_pool(characters, embedding, weights, biases),
        }
        return run("conv_max_pool", embedding, implementations)


def _conv_max_pool(
    characters: Tensor,
    embedding: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    buckets: Optional[Sequence[tuple[int, int]]],
) -> Tensor:
    width, padding_id = max(weight.shape[2] for weight in weights), len(embedding)
    if buckets is None:
        order, buckets = sort_by_length(characters, padding_id)
        return _conv_max_pool(characters[order], embedding, weights, biases, buckets)[order.argsort()]
    ngrams = find_ngrams(characters, width, padding_id, buckets)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (embedding, *weights, *biases)):
        return _ConvMaxPool.apply(ngrams, embedding, *weights, *biases)  # type: ignore[no-any-return]
    return _forward(ngrams, embedding, weights, biases, saves_argmax=False)[0]


class _ConvMaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ngrams: Ngrams, embedding: Tensor, *weights_and_biases: Tensor) -> Tensor:
        num_widths = len(weights_and_biases) // 2
        weights, biases = weights_and_biases[:num_widths], weights_and_biases[num_widths:]
        maxima, argmax = _forward(ngrams, embedding, weights, biases, saves_argmax=True)
        ctx.save_for_backward(ngrams.characters, argmax, embedding, *weights)
        return maxima

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        characters, argmax, embedding, *weights = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            grad = grad.contiguous()
            embedded = _embed(characters, embedding)
            grad_weights: list[Tensor] = [torch.empty(0)] * len(weights)

            first_columns = _first_columns(weights)

            def backward_of_group(group: Sequence[int]) -> Tensor:
                """Return the gradient of the characters that the widest filters of `group` read, (W, width * d)."""
                num_read = max(weights[number][0].numel() for number in group)
                grad_read = embedded.new_zeros(len(embedded), num_read)
                for number in group:
                    grad_weights[number] = _conv_backward(
                        embedded, weights[number], grad, argmax, first_columns[number], grad_read
                    )
                return grad_read

            groups = _group_by_thread(weights, grad.device)
            grads_read = run_in_threads([partial(backward_of_group, group) for group in groups], grad.device)
            grad_embedded = torch.zeros_like(embedded)
            for grad_read in grads_read:
                grad_embedded[:, : grad_read.shape[1]] += grad_read
            grad_embedding = _embed_backward(characters, grad_embedded, torch.zeros_like(embedding))
            grad_biases = grad.sum(0).split([len(weight) for weight in weights])
        return (None, grad_embedding, *grad_weights, *grad_biases)


def _forward(
    ngrams: Ngrams, embedding: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], saves_argmax: bool
) -> tuple[Tensor, Optional[Tensor]]:
    """Return each filter's maximum over a word's positions, and the n-gram that has it, int32: (U, num_filters) both."""
    embedded = _embed(ngrams.characters, embedding)
    num_words, num_filters = ngrams.index.shape[1], sum(len(bias) for bias in biases)
    maxima = embedded.new_empty(num_words, num_filters)
    argmax = ngrams.index.new_empty(num_words, num_filters, dtype=torch.int32) if saves_argmax else None

    first_columns = _first_columns(weights)

    def forward_of_group(group: Sequence[int]) -> None:
        for number in group:
            _conv_forward(embedded, weights[number], biases[number], ngrams, first_columns[number], maxima, argmax)

    groups = _group_by_thread(weights, embedded.device)
    run_in_threads([partial(forward_of_group, group) for group in groups], embedded.device)
    return maxima, argmax


def _first_columns(weights: Sequence[Tensor]) -> list[int]:
    """Return the column of the result at which the filters of each width begin."""
    return [0, *accumulate(len(weight) for weight in weights)]


def _group_by_thread(weights: Sequence[Tensor], device: torch.device) -> list[list[int]]:
    """Return the indices of the widths, in a group for each thread, or in one group where one width is most of the work.

    The widths share nothing but the n-grams. The products of a single group are computed by all threads.
    """
    work = [weight.numel() for weight in weights]
    groups = balanced_groups(work, num_threads() if device.type == "cpu" else 1)
    most = max(sum(work[number] for number in group) for group in groups)
    if most * len(groups) > MAX_IMBALANCE * sum(work):
        return [list(range(len(weights)))]
    return groups


def _conv_forward(
    embedded: Tensor,
    weight: Tensor,
    bias: Tensor,
    ngrams: Ngrams,
    first_filter: int,
    maxima: Tensor,
    argmax: Optional[Tensor],
) -> None:
    """Fill the columns of `maxima` and `argmax` from `first_filter` on that belong to the filters `weight` (n, d, width).

    `embedded` (W, at least width * d) holds the distinct n-grams; the first position that has the maximum is its argmax.
    """
    width, scratch = weight.shape[2], argmax
    if scratch is None:
        # The kernels overwrite this row for each word.
        scratch = maxima.new_empty(1, maxima.shape[1], dtype=torch.int32)

    def numba_conv() -> None:
        from allennlp_elmo_plus.kernels.char_conv import _numba_kernels

        operands = *arrays(embedded, weight, bias), ngrams.index.numpy(), ngrams.num_positions(width)
        _numba_kernels.conv_forward(*operands, first_filter, *arrays_to_fill(maxima, scratch))

    def gemm_and_max() -> None:
        matrix = _as_matrix(weight)
        responses = linear(embedded[:, : len(matrix)], matrix, bias)
        implementations = {
            "numba": lambda: _numba_max(responses, ngrams, width, first_filter, maxima, scratch),
            "torch": lambda: max_over_positions(responses, ngrams, width, first_filter, maxima, argmax),
        }
        run("conv_max_pool.max", responses, implementations)

    run("conv_max_pool.gemm", embedded, {"numba": numba_conv, "torch": gemm_and_max})


def _numba_max(
    responses: Tensor, ngrams: Ngrams, width: int, first_filter: int, maxima: Tensor, argmax: Tensor
) -> None:
    from allennlp_elmo_plus.kernels.char_conv import _numba_kernels

    operands = *arrays(responses), ngrams.index.numpy(), ngrams.num_positions(width)
    _numba_kernels.max_over_positions(*operands, first_filter, *arrays_to_fill(maxima, argmax))


def _conv_backward(
    embedded: Tensor, weight: Tensor, grad: Tensor, argmax: Tensor, first_filter: int, grad_embedded: Tensor
) -> Tensor:
    """Return the gradient of the filters `weight`, and add the gradient of the characters that they read to `grad_embedded`."""

    def numba_conv_backward() -> Tensor:
        from allennlp_elmo_plus.kernels.char_conv import _numba_kernels

        operands = arrays(embedded, weight, grad, argmax)
        grad_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
        _numba_kernels.conv_backward(*operands, first_filter, *arrays_to_fill(grad_embedded, grad_weight))
        return grad_weight

    def scatter_and_gemm() -> Tensor:
        matrix = _as_matrix(weight)
        grad_responses = _responses_backward(grad, argmax, first_filter, len(embedded), len(weight))
        grad_matrix = matmul_tn(embedded[:, : len(matrix)], grad_responses)
        addmm_(grad_embedded[:, : len(matrix)], grad_responses, matrix.t())
        return _as_weight(grad_matrix, weight.shape[2])

    return run("conv_max_pool.gemm", embedded, {"numba": numba_conv_backward, "torch": scatter_and_gemm})


def _responses_backward(grad: Tensor, argmax: Tensor, first_filter: int, num_ngrams: int, num_filters: int) -> Tensor:
    """Return the gradient of the filters' responses to the n-grams, (W, n): that of each maximum, at its n-gram."""
    grad_responses = grad.new_zeros(num_ngrams, num_filters)

    def numba_scatter() -> None:
        from allennlp_elmo_plus.kernels.char_conv import _numba_kernels

        _numba_kernels.scatter_to_argmax(*arrays(grad, argmax), first_filter, *arrays_to_fill(grad_responses))

    def torch_scatter() -> None:
        columns = slice(first_filter, first_filter + num_filters)
        grad_responses.scatter_add_(0, argmax[:, columns].long(), grad[:, columns])

    run("conv_max_pool.max", grad, {"numba": numba_scatter, "torch": torch_scatter})
    return grad_responses


def _embed(characters: Tensor, embedding: Tensor) -> Tensor:
    """Return the vectors of the characters of each n-gram, concatenated: (W, width) -> (W, width * d)."""
    return F.embedding(characters - 1, embedding).flatten(1)


def _embed_backward(characters: Tensor, grad_embedded: Tensor, grad_embedding: Tensor) -> Tensor:
    """Return `grad_embedding` (A, d) after the gradient of the n-grams `characters` (W, width) was added to it."""

    def numba_add() -> None:
        from allennlp_elmo_plus.kernels.char_conv import _numba_kernels

        _numba_kernels.embed_backward(*arrays(characters, grad_embedded), *arrays_to_fill(grad_embedding))

    def torch_add() -> None:
        grad_embedding.index_add_(0, characters.flatten() - 1, grad_embedded.view(-1, grad_embedding.shape[1]))

    run("conv_max_pool.max", grad_embedding, {"numba": numba_add, "torch": torch_add})
    return grad_embedding


def _as_matrix(weight: Tensor) -> Tensor:
    """Return filters (n, d, width) as the (width * d, n) matrix that embedded n-grams are multiplied by."""
    return weight.permute(2, 1, 0).flatten(0, 1)


def _as_weight(matrix: Tensor, width: int) -> Tensor:
    """Return the filters (n, d, width) of a (width * d, n) matrix."""
    return matrix.unflatten(0, (width, -1)).permute(2, 1, 0)
