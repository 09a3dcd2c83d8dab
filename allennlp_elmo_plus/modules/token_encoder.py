"""Distinct words of a batch -> their vectors, the biLM's layer 0: from their characters, or looked up by vocabulary id."""

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.kernels.gemm.linear import affine, pad_rows_to_multiple
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN
from allennlp_elmo_plus.modules.highway import Highway


class CharacterEncoder(nn.Module):
    """Character convolutions, highway layers, a linear projection (Peters et al. 2018, section 3.4). bilm-tf projects only
    where the number of filters is not the width asked for.

    cnn, highway: `highway` None leaves that step out; projection_dim: D, or None for no projection and D =
    `cnn.num_filters`. Weights start at zero.
    """

    def __init__(self, cnn: CharacterCNN, highway: Optional[Highway], projection_dim: Optional[int]) -> None:
        super().__init__()
        if projection_dim is not None and projection_dim < 1:
            raise ValueError(f"`projection_dim` must be at least 1 or None, got {projection_dim}")
        self.cnn = cnn
        self.highway = highway
        self.output_size = cnn.num_filters if projection_dim is None else projection_dim
        self.projection_weight: Optional[nn.Parameter] = None
        self.projection_bias: Optional[nn.Parameter] = None
        if projection_dim is not None:
            self.projection_weight = nn.Parameter(torch.zeros(cnn.num_filters, projection_dim))
            self.projection_bias = nn.Parameter(torch.zeros(projection_dim))

    def forward(self, characters: Tensor, buckets: Optional[Sequence[tuple[int, int]]] = None) -> Tensor:
        """characters: (U, C), buckets: as CharacterCNN takes them -> (U, D)."""
        vectors = pad_rows_to_multiple(self.cnn(characters, buckets))
        if self.highway is not None:
            vectors = self.highway(vectors)
        if self.projection_weight is not None and self.projection_bias is not None:
            vectors = vectors.to(common_dtype(self, recurse=False))
            vectors = affine(vectors, self.projection_weight, self.projection_bias)
        return vectors[: len(characters)]


class WordEncoder(nn.Module):
    """A vector for each word of the vocabulary (bilm-tf's word input).

    vocab_size: V; dim: D; sparse: whether the gradient holds only the rows of the words seen, as a sparse tensor.
    Weights start at zero.
    """

    def __init__(self, vocab_size: int, dim: int, sparse: bool = False) -> None:
        super().__init__()
        if vocab_size < 1:
            raise ValueError(f"`vocab_size` must be at least 1, got {vocab_size}")
        if dim < 1:
            raise ValueError(f"`dim` must be at least 1, got {dim}")
        self.output_size = dim
        self.sparse = sparse
        self.embedding = nn.Parameter(torch.zeros(vocab_size, dim))

    def forward(self, word_ids: Tensor) -> Tensor:
        """word_ids: (U,), from 0 to V - 1, the line in the vocabulary file -> (U, D)."""
        return F.embedding(word_ids, self.embedding, sparse=self.sparse)
