"""Characters of each distinct word -> the strongest response of every filter; see `kernels.char_conv.conv_max_pool` for how."""

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.text.characters import PADDING_ID
from allennlp_elmo_plus.kernels.char_conv.conv_max_pool import (
    ConvMaxPool,
    NgramPositions,
    conv_max_pool,
    unique_ngrams,
)
from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.kernels.gemm.linear import pad_rows_to_multiple

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


class CharacterCNN(nn.Module):
    """activation(max over places of (convolution + bias)), for filters of several widths side by side, without padding at
    the ends (Peters et al. 2018, section 3.4; bilm-tf's order of the steps). Computed in the weights' own dtype, under
    autocast too: it is a small share of a training step, and rounding would make filters tie between places.

    The gradient of a gradient is not supported and raises a RuntimeError; `kernels.char_conv.reference` has one.

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
        """Returns (U, num_filters).

        characters: (U, C), ids from 1 to 261; buckets: [(end row, length), ...], both rising: the rows up to `end
        row`, from the bucket before, hold padding alone from column `length` on. Without them, rows may come in any
        order, and are put in order of length here. A ValueError for another width, ids out of range, or buckets that
        do not fit the rows.
        """
        if characters.dim() != 2 or characters.shape[1] != self.max_characters:
            raise ValueError(f"`characters` must have shape (U, {self.max_characters}), got {tuple(characters.shape)}")
        common_dtype(self)
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
            windows, rows = unique_ngrams(characters, self.widest_filter, len(first_rows), self.embedding)
            windows = pad_rows_to_multiple(windows, PADDING_ID)
            places = NgramPositions(rows, first_rows, self.max_characters)
            weights, biases = list(self.weights), list(self.biases)
            if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.parameters()):
                maxima = ConvMaxPool.apply(windows, places, self.embedding, *weights, *biases)
            else:
                maxima, _ = conv_max_pool(windows, places, self.embedding, weights, biases, with_winners=False)
            outputs = _ACTIVATIONS[self.activation](maxima)
            return outputs if order is None else outputs[order.argsort()]

    def _in_order_of_length(self, characters: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
        """Rows by rising length (U,), and a bucket for each length."""
        columns = torch.arange(1, self.max_characters + 1, device=characters.device)
        lengths, order = ((characters != PADDING_ID) * columns).amax(dim=1).sort(stable=True)
        found, counts = torch.unique_consecutive(lengths, return_counts=True)
        return order, list(zip(counts.cumsum(0).tolist(), found.tolist(), strict=True))

    def _first_rows(self, buckets: Sequence[tuple[int, int]], num_rows: int) -> list[int]:
        """For each place that any row needs, the first row that needs it. A row of n characters needs its first n + 1
        places, whatever the width of a filter: at each later place a filter reads padding alone, as at the last of
        these.
        """
        first_rows: list[int] = []
        start, previous = 0, 0
        for end, length in buckets:
            if end < start or not previous <= length <= self.max_characters:
                raise ValueError(f"`buckets` must rise, lengths from 0 to {self.max_characters}, got {buckets}")
            if end > start:
                first_rows += [start] * (min(length + 1, self.max_characters) - len(first_rows))
            start, previous = end, length
        if start != num_rows:
            raise ValueError(f"`buckets` must end at row {num_rows}, the number of words, got {start}")
        return first_rows
