"""
Characters of each distinct word -> the strongest response of every filter.

Two words that share a piece of spelling share the windows that lie within it: of a batch's windows of seven characters
about half are distinct. So each distinct window meets each filter once, in one matrix product a filter width, and
the maximum over a word's places gathers from the result. Of the forward pass only the place of each maximum is kept.
The backward pass adds each gradient to the window that won and ends in two matrix products of the same size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .characters import PADDING_ID

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
_MAX_KEY = 2**63 - 1


class CharacterCNN(nn.Module):
    """
    activation(max over places of (convolution + bias)), for filters of several widths side by side, without padding at
    the ends (Peters et al. 2018, section 3.4; bilm-tf's order of the steps). Computed in the weights' own dtype, under
    autocast too: it is a small share of a training step, and rounding would make filters tie between places.

    The gradient of a gradient is not supported and raises a RuntimeError; `reference_convolution` has one.

    embedding_dim: width of a character's vector; filters: [width in characters, number] each; activation: "relu" or
    "tanh"; max_characters: C. Weights start at zero. A ValueError for values out of range, a filter wider than C among
    them.
    """

    def __init__(
        self, embedding_dim: int, filters: Sequence[Sequence[int]], activation: str, max_characters: int = 50
    ) -> None:
        super().__init__()
        if embedding_dim < 1:
            raise ValueError(f"`embedding_dim` must be at least 1, got {embedding_dim}")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"`activation` must be one of {', '.join(_ACTIVATIONS)}, got {activation!r}")
        if not filters or any(len(pair) != 2 or min(pair) < 1 for pair in filters):
            raise ValueError(f"`filters` must be pairs of a width and a number, each at least 1, got {filters!r}")
        self.widest_filter = max(width for width, _ in filters)
        if self.widest_filter > max_characters:
            raise ValueError(
                f"`filters` must be no wider than `max_characters`, {max_characters}, got width {self.widest_filter}"
            )
        self.max_characters = max_characters
        self.num_filters = sum(number for _, number in filters)
        self.activation = activation
        self.embedding = nn.Parameter(torch.zeros(PADDING_ID, embedding_dim))
        self.weights = nn.ParameterList(torch.zeros(number, embedding_dim, width) for width, number in filters)
        self.biases = nn.ParameterList(torch.zeros(number) for _, number in filters)

    def forward(self, characters: Tensor, buckets: Optional[Sequence[tuple[int, int]]] = None) -> Tensor:
        """
        Returns (U, num_filters).

        characters: (U, C), ids from 1 to 261; buckets: [(end row, columns), ...], both rising: the rows up to `end
        row`, from the bucket before, hold nothing but padding in their last `widest_filter` columns before column
        `columns` and from there on, or `columns` is C. Without them, rows may come in any order, and are put in order
        of length here. A ValueError for another width, ids out of range, or buckets that do not fit the rows.
        """
        if characters.dim() != 2 or characters.shape[1] != self.max_characters:
            raise ValueError(f"`characters` must have shape (U, {self.max_characters}), got {tuple(characters.shape)}")
        if len(characters) == 0:
            return self.embedding.new_zeros(0, self.num_filters)
        lowest, highest = (int(extreme) for extreme in torch.aminmax(characters))
        if lowest < 1 or highest > PADDING_ID:
            found = lowest if lowest < 1 else highest
            raise ValueError(f"`characters` must be from 1 to {PADDING_ID}, got {found}")
        order: Optional[Tensor] = None
        if buckets is None:
            order, buckets = self._in_order_of_length(characters)
            characters = characters[order]
        first_rows = self._first_rows(buckets, len(characters))
        with torch.autocast(characters.device.type, enabled=False):
            windows, rows = _distinct_windows(characters, self.widest_filter, len(first_rows))
            places = _Places(rows, first_rows, self.max_characters)
            weights, biases = list(self.weights), list(self.biases)
            if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.parameters()):
                maxima = _Maxima.apply(windows, places, self.embedding, *weights, *biases)
            else:
                maxima, _ = _maxima(windows, places, self.embedding, weights, biases, with_argmax=False)
            outputs = _ACTIVATIONS[self.activation](maxima)
            return outputs if order is None else outputs[order.argsort()]

    def _in_order_of_length(self, characters: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
        """Rows by rising length (U,), and a bucket for each length."""
        columns = torch.arange(1, self.max_characters + 1, device=characters.device)
        lengths, order = ((characters != PADDING_ID) * columns).amax(dim=1).sort(stable=True)
        found, counts = torch.unique_consecutive(lengths, return_counts=True)
        ends = counts.cumsum(0).tolist()
        needed = (found + self.widest_filter).clamp(max=self.max_characters).tolist()
        return order, list(zip(ends, needed, strict=True))

    def _first_rows(self, buckets: Sequence[tuple[int, int]], num_rows: int) -> list[int]:
        """
        For each place that any row needs, the first row that needs it. A row needs one window of padding and those
        before it.
        """
        first_rows: list[int] = []
        start, previous = 0, self.widest_filter
        for end, columns in buckets:
            if end < start or not previous <= columns <= self.max_characters:
                raise ValueError(
                    f"`buckets` must rise, columns from {self.widest_filter} to {self.max_characters}, got {buckets}"
                )
            num_places = columns if columns == self.max_characters else columns - self.widest_filter + 1
            if end > start:
                first_rows += [start] * (num_places - len(first_rows))
            start, previous = end, columns
        if start != num_rows:
            raise ValueError(f"`buckets` must end at row {num_rows}, the number of words, got {start}")
        return first_rows


def reference_convolution(
    characters: Tensor, embedding: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> Tensor:
    """
    What CharacterCNN computes before the activation, (U, num_filters), as it is usually written: every filter over
    every place of every row of `characters` (U, C). Many times slower; autograd can differentiate it more than once.
    """
    embedded = F.embedding(characters.long() - 1, embedding).transpose(1, 2)
    responses = (F.conv1d(embedded, weight, bias) for weight, bias in zip(weights, biases, strict=True))
    return torch.cat([response.max(dim=2).values for response in responses], dim=1)


@dataclass(frozen=True)
class _Places:
    """
    Which windows a word's places hold. A window starts at its place and is as wide as the widest filter; narrower
    filters see its beginning.

    rows: (places, U), the distinct window at each place; first_rows: the words from this row on need the place;
    max_characters: C, beyond which a filter must not reach.
    """

    rows: Tensor
    first_rows: list[int]
    max_characters: int

    def after_the_first(self, width: int) -> range:
        return range(1, min(len(self.first_rows), self.max_characters - width + 1))


def _distinct_windows(characters: Tensor, width: int, num_places: int) -> tuple[Tensor, Tensor]:
    """The distinct windows (W, width) of `characters` (U, C), and which of them each place holds, (places, U)."""
    characters = characters[:, : num_places + width - 1].long()
    beyond = num_places + width - 1 - characters.shape[1]
    windows = F.pad(characters, (0, beyond), value=PADDING_ID).unfold(1, width, 1).transpose(0, 1).reshape(-1, width)
    keys, num_keys = windows[:, 0], PADDING_ID + 1
    for column in windows.unbind(1)[1:]:
        if num_keys * (PADDING_ID + 1) > _MAX_KEY:
            distinct, keys = torch.unique(keys, return_inverse=True)
            num_keys = len(distinct)
        keys = keys * (PADDING_ID + 1) + column
        num_keys *= PADDING_ID + 1
    distinct, rows = torch.unique(keys, return_inverse=True)
    sample = torch.empty_like(distinct).scatter_(0, rows, torch.arange(len(rows), device=rows.device))
    return windows[sample], rows.view(num_places, -1)


def _maxima(
    windows: Tensor,
    places: _Places,
    embedding: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    with_argmax: bool,
) -> tuple[Tensor, Optional[Tensor]]:
    """Each filter's maximum over a word's places, (U, num_filters), and the first place that has it, int16."""
    embedded = F.embedding(windows - 1, embedding).flatten(1)
    num_words = places.rows.shape[1]
    sizes = [len(bias) for bias in biases]
    maxima = embedded.new_empty(num_words, sum(sizes))
    argmax = places.rows.new_zeros(num_words, sum(sizes), dtype=torch.int16) if with_argmax else None
    argmax_by_width = argmax.split(sizes, dim=1) if argmax is not None else [None] * len(sizes)
    for weight, bias, maximum, best_place in zip(
        weights, biases, maxima.split(sizes, dim=1), argmax_by_width, strict=True
    ):
        matrix = _as_matrix(weight)
        responses = torch.addmm(bias, embedded[:, : len(matrix)], matrix)
        best = responses.index_select(0, places.rows[0])
        for place in places.after_the_first(weight.shape[2]):
            first = places.first_rows[place]
            candidates, best_yet = responses.index_select(0, places.rows[place, first:]), best[first:]
            if best_place is not None:
                best_place[first:].masked_fill_(candidates > best_yet, place)
            torch.maximum(best_yet, candidates, out=best_yet)
        maximum.copy_(best)
    return maxima, argmax


class _Maxima(torch.autograd.Function):
    """`_maxima` with its gradient: a filter's gradient at a word belongs to the one window where its maximum was."""

    @staticmethod
    def forward(ctx: Any, windows: Tensor, places: _Places, embedding: Tensor, *weights_and_biases: Tensor) -> Tensor:
        num_widths = len(weights_and_biases) // 2
        weights, biases = weights_and_biases[:num_widths], weights_and_biases[num_widths:]
        maxima, argmax = _maxima(windows, places, embedding, weights, biases, with_argmax=True)
        ctx.save_for_backward(windows, places.rows, argmax, embedding, *weights)
        return maxima

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        windows, rows, argmax, embedding, *weights = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            embedded = F.embedding(windows - 1, embedding).flatten(1)
            grad_embedded = torch.zeros_like(embedded)
            sizes = [len(weight) for weight in weights]
            grad_weights = []
            for weight, grad_maxima, place in zip(
                weights, grad.split(sizes, dim=1), argmax.split(sizes, dim=1), strict=True
            ):
                matrix = _as_matrix(weight)
                winners = rows.t().gather(1, place.long())
                grad_responses = grad.new_zeros(len(windows), len(weight)).scatter_add_(0, winners, grad_maxima)
                grad_matrix = embedded[:, : len(matrix)].t() @ grad_responses
                grad_weights.append(_as_weight(grad_matrix, weight.shape[2]))
                grad_embedded[:, : len(matrix)].addmm_(grad_responses, matrix.t())
            grad_characters = grad_embedded.view(-1, embedding.shape[1])
            grad_embedding = torch.zeros_like(embedding).index_add_(0, windows.flatten() - 1, grad_characters)
        return (None, None, grad_embedding, *grad_weights, *grad.sum(0).split(sizes))


def _as_matrix(weight: Tensor) -> Tensor:
    """(n, d, width) -> (width * d, n), to be multiplied by windows whose characters' vectors lie end to end."""
    return weight.permute(2, 1, 0).flatten(0, 1)


def _as_weight(matrix: Tensor, width: int) -> Tensor:
    """`_as_matrix` undone."""
    return matrix.unflatten(0, (width, -1)).permute(2, 1, 0)
