"""The maximum of every filter over the places of a word, and the way back from it to the filters and the characters.

Two words that share a piece of spelling share the windows that lie within it: of a batch's windows of seven characters
about half are distinct. So each distinct window meets each filter once, in one matrix product a filter width, and
the maximum over a word's places gathers from the result. Of the forward pass only the winning windows are kept.
The backward pass adds each gradient to the window that won and ends in two matrix products of the same size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.backend import loops_for, loops_for_one_thread
from allennlp_elmo_plus.kernels.gemm.linear import addmm_, linear, matmul_tn
from allennlp_elmo_plus.kernels.threads import run_in_threads

_MAX_KEY = 2**63 - 1

# How many times the mean the work of a thread may be.
MOST_UNEVEN = 1.3


@dataclass(frozen=True)
class NgramPositions:
    """Which windows a word's places hold. A window starts at its place and is as wide as the widest filter; narrower
    filters see its beginning.

    rows: (places, U), the distinct window at each place; first_rows: the words from this row on need the place;
    max_characters: C, beyond which a filter must not reach.
    """

    rows: Tensor
    first_rows: list[int]
    max_characters: int

    def after_the_first(self, width: int) -> range:
        return range(1, min(len(self.first_rows), self.max_characters - width + 1))

    def num_places(self, width: int) -> np.ndarray:
        """How many places of each word a filter of this width reads: (U,) int64."""
        return np.minimum(self._places_needed, self.max_characters - width + 1)

    @cached_property
    def _places_needed(self) -> np.ndarray:
        return np.searchsorted(self.first_rows, np.arange(self.rows.shape[1]), side="right")


def unique_ngrams(characters: Tensor, width: int, num_places: int, embedding: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct windows (W, width) of `characters` (U, C), which are to be looked up in `embedding`, in any order; and which of
    them each place holds, (places, U).
    """
    # The last character of the table is the padding.
    padding_id = len(embedding)
    characters = characters[:, : num_places + width - 1].long()
    beyond = num_places + width - 1 - characters.shape[1]
    windows = F.pad(characters, (0, beyond), value=padding_id).unfold(1, width, 1).transpose(0, 1).reshape(-1, width)
    keys, num_keys = windows[:, 0], padding_id + 1
    for column in windows.unbind(1)[1:]:
        if num_keys * (padding_id + 1) > _MAX_KEY:
            distinct, keys = torch.unique(keys, return_inverse=True)
            num_keys = len(distinct)
        keys = keys * (padding_id + 1) + column
        num_keys *= padding_id + 1
    distinct, rows = torch.unique(keys, return_inverse=True)
    sample = torch.empty_like(distinct).scatter_(0, rows, torch.arange(len(rows), device=rows.device))
    return windows[sample], rows.view(num_places, -1)


def conv_max_pool(
    windows: Tensor,
    places: NgramPositions,
    embedding: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    with_winners: bool,
) -> tuple[Tensor, Optional[Tensor]]:
    """Each filter's maximum over a word's places, and the window that has it, int32: (U, num_filters) both."""
    embedded = F.embedding(windows - 1, embedding).flatten(1)
    num_words, num_filters = places.rows.shape[1], sum(len(bias) for bias in biases)
    maxima = embedded.new_empty(num_words, num_filters)
    argmax = places.rows.new_empty(num_words, num_filters, dtype=torch.int32) if with_winners else None

    def respond(group: Sequence[_Filters]) -> None:
        for filters in group:
            weight, bias = weights[filters.number], biases[filters.number]
            _conv_forward(embedded, weight, bias, places, filters.first, maxima, argmax)

    run_in_threads([partial(respond, group) for group in _groups(weights, embedded.device)], embedded.device)
    return maxima, argmax


class _Filters(NamedTuple):
    """Those of one width: the width's number, and where their columns begin."""

    number: int
    first: int


def _groups(weights: Sequence[Tensor], device: torch.device) -> list[list[_Filters]]:
    """The widths, which share nothing but the windows, in a group for each thread; or in one group, whose products then have all
    threads, where one width is most of the work.
    """
    groups: list[list[_Filters]] = [[] for _ in range(torch.get_num_threads() if device.type == "cpu" else 1)]
    work = [0] * len(groups)
    first_columns = [0, *accumulate(len(weight) for weight in weights)]
    for number in sorted(range(len(weights)), key=lambda number: -weights[number].numel()):
        least = work.index(min(work))
        groups[least].append(_Filters(number, first_columns[number]))
        work[least] += weights[number].numel()
    if max(work) * len(work) > MOST_UNEVEN * sum(work):
        return [[filters for group in groups for filters in group]]
    return groups


def _conv_forward(
    embedded: Tensor,
    weight: Tensor,
    bias: Tensor,
    places: NgramPositions,
    first_filter: int,
    maxima: Tensor,
    argmax: Optional[Tensor],
) -> None:
    """Fills n columns of `maxima` and `argmax` from `first_filter` on, from the responses of n filters to the distinct windows,
    `embedded` (W, ...): the maximum over each word's places, and the window of the first place that has it.
    """
    width = weight.shape[2]
    scratch = maxima.new_empty(1, maxima.shape[1], dtype=torch.int32) if argmax is None else argmax
    loops = loops_for_one_thread(embedded, "char_conv._numba_kernels")
    if loops is not None:
        responding, filled = arrays(embedded, weight, bias), arrays_to_fill(maxima, scratch)
        loops.conv_forward(*responding, places.rows.numpy(), places.num_places(width), first_filter, *filled)
        return
    matrix = _as_matrix(weight)
    responses = linear(embedded[:, : len(matrix)], matrix, bias)
    loops = loops_for(embedded, "char_conv._numba_kernels")
    if loops is not None:
        (found,) = arrays(responses)
        filled = arrays_to_fill(maxima, scratch)
        loops.strongest(found, places.rows.numpy(), places.num_places(width), first_filter, *filled)
        return
    filters = slice(first_filter, first_filter + responses.shape[1])
    rows = places.rows
    best = responses.index_select(0, rows[0])
    winner = rows[0].unsqueeze(1).repeat(1, responses.shape[1])
    for place in places.after_the_first(width):
        first = places.first_rows[place]
        candidates, best_yet = responses.index_select(0, rows[place, first:]), best[first:]
        if argmax is not None:
            winner[first:] = torch.where(candidates > best_yet, rows[place, first:].unsqueeze(1), winner[first:])
        torch.maximum(best_yet, candidates, out=best_yet)
    maxima[:, filters] = best
    if argmax is not None:
        argmax[:, filters] = winner


class ConvMaxPool(torch.autograd.Function):
    """`conv_max_pool` with its gradient: a filter's gradient at a word belongs to the one window where its maximum was."""

    @staticmethod
    def forward(
        ctx: Any, windows: Tensor, places: NgramPositions, embedding: Tensor, *weights_and_biases: Tensor
    ) -> Tensor:
        num_widths = len(weights_and_biases) // 2
        weights, biases = weights_and_biases[:num_widths], weights_and_biases[num_widths:]
        maxima, argmax = conv_max_pool(windows, places, embedding, weights, biases, with_winners=True)
        ctx.save_for_backward(windows, argmax, embedding, *weights)
        return maxima

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        windows, argmax, embedding, *weights = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            grad = grad.contiguous()
            embedded = F.embedding(windows - 1, embedding).flatten(1)
            grad_weights: list[Tensor] = [torch.empty(0)] * len(weights)

            def respond_back(group: Sequence[_Filters]) -> Tensor:
                """The gradient of the characters that the group's widest filters see."""
                widest = max(weights[filters.number][0].numel() for filters in group)
                grad_seen = embedded.new_zeros(len(embedded), widest)
                for filters in group:
                    weight = weights[filters.number]
                    grad_weights[filters.number] = _conv_backward(
                        embedded, weight, grad, argmax, filters.first, grad_seen
                    )
                return grad_seen

            groups = _groups(weights, grad.device)
            grads_seen = run_in_threads([partial(respond_back, group) for group in groups], grad.device)
            grad_embedded = torch.zeros_like(embedded)
            for grad_seen in grads_seen:
                grad_embedded[:, : grad_seen.shape[1]] += grad_seen
            grad_embedding = _add_to_characters(windows, grad_embedded, torch.zeros_like(embedding))
            grad_biases = grad.sum(0).split([len(weight) for weight in weights])
        return (None, None, grad_embedding, *grad_weights, *grad_biases)


def _conv_backward(
    embedded: Tensor, weight: Tensor, grad: Tensor, argmax: Tensor, first_filter: int, grad_embedded: Tensor
) -> Tensor:
    """The gradient of `_conv_forward`'s filters; adds that of what they see to grad_embedded."""
    loops = loops_for_one_thread(embedded, "char_conv._numba_kernels")
    if loops is not None:
        grad_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
        given = arrays(embedded, weight, grad, argmax)
        loops.conv_backward(*given, first_filter, *arrays_to_fill(grad_embedded, grad_weight))
        return grad_weight
    matrix = _as_matrix(weight)
    grad_responses = grad.new_zeros(len(embedded), len(weight))
    loops = loops_for(grad, "char_conv._numba_kernels")
    if loops is not None:
        loops.add_to_winners(*arrays(grad, argmax), first_filter, *arrays_to_fill(grad_responses))
    else:
        filters = slice(first_filter, first_filter + len(weight))
        grad_responses.scatter_add_(0, argmax[:, filters].long(), grad[:, filters])
    grad_matrix = matmul_tn(embedded[:, : len(matrix)], grad_responses)
    addmm_(grad_embedded[:, : len(matrix)], grad_responses, matrix.t())
    return _as_weight(grad_matrix, weight.shape[2])


def _add_to_characters(windows: Tensor, grad_embedded: Tensor, grad_embedding: Tensor) -> Tensor:
    """grad_embedding (A, d), to which the gradient of windows (W, width) was added."""
    loops = loops_for(grad_embedding, "char_conv._numba_kernels")
    if loops is not None:
        loops.add_to_characters(*arrays(windows, grad_embedded), *arrays_to_fill(grad_embedding))
        return grad_embedding
    return grad_embedding.index_add_(0, windows.flatten() - 1, grad_embedded.view(-1, grad_embedding.shape[1]))


def _as_matrix(weight: Tensor) -> Tensor:
    """(n, d, width) -> (width * d, n), to be multiplied by windows whose characters' vectors lie end to end."""
    return weight.permute(2, 1, 0).flatten(0, 1)


def _as_weight(matrix: Tensor, width: int) -> Tensor:
    """`_as_matrix` undone."""
    return matrix.unflatten(0, (width, -1)).permute(2, 1, 0)
