"""Distinct words of a batch -> their vectors, the biLM's layer 0: computed from characters, or looked up by vocabulary id."""

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.kernels.gemm.linear import affine, pad_rows_to_multiple
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN
from allennlp_elmo_plus.modules.highway import Highway
from allennlp_elmo_plus.modules.initialization import glorot_uniform_, normal_


class CharacterEncoder(nn.Module):
    """The encoder of Peters et al. 2018, section 3.4: character convolutions, highway layers, a linear projection.

    The projection's weights are zero until they are initialized or loaded.

    Args:
        cnn: The character convolutions.
        highway: The highway layers, as wide as `cnn.num_filters`; None for none.
        projection_dim: D, at least 1; None for no projection and D = `cnn.num_filters`, as in bilm-tf where both are equal.
    """

    def __init__(self, cnn: CharacterCNN, highway: Optional[Highway], projection_dim: Optional[int]) -> None:
        super().__init__()
        self.cnn = cnn
        self.highway = highway
        self.output_size = cnn.num_filters if projection_dim is None else projection_dim
        self.projection_weight: Optional[nn.Parameter] = None
        self.projection_bias: Optional[nn.Parameter] = None
        if projection_dim is not None:
            self.projection_weight = nn.Parameter(torch.zeros(cnn.num_filters, projection_dim))
            self.projection_bias = nn.Parameter(torch.zeros(projection_dim))

    @property
    def word_shape(self) -> tuple[int, ...]:
        """Return the shape of a word's ids, (C,)."""
        return (self.cnn.max_characters,)

    @property
    def max_id(self) -> int:
        """Return the highest id, which is padding."""
        return len(self.cnn.embedding)

    def reset_parameters(self) -> None:
        """Draw the initial values of all weights."""
        if self.projection_weight is not None and self.projection_bias is not None:
            normal_(self.projection_weight, 1 / len(self.projection_weight))
            nn.init.zeros_(self.projection_bias)
        self.cnn.reset_parameters()
        if self.highway is not None:
            self.highway.reset_parameters()

    def forward(self, characters: Tensor, buckets: Optional[Sequence[tuple[int, int]]] = None) -> Tensor:
        """Return the vectors, (U, D), of words of `characters` (U, C); `buckets` say where padding begins, see `CharacterCNN`."""
        vectors = pad_rows_to_multiple(self.cnn(characters, buckets))
        if self.highway is not None:
            vectors = self.highway(vectors)
        if self.projection_weight is not None and self.projection_bias is not None:
            vectors = vectors.to(common_dtype(self, recurse=False))
            vectors = affine(vectors, self.projection_weight, self.projection_bias)
        return vectors[: len(characters)]


class WordEncoder(nn.Module):
    """The embedding of the words of a vocabulary, for bilm-tf's word input.

    `embedding` (V, D) is zero until it is initialized or loaded.

    Args:
        vocab_size: V, the number of words.
        dim: D, at least 1.
        sparse: Whether the gradient is a sparse tensor that holds only the rows of the words read.
    """

    def __init__(self, vocab_size: int, dim: int, sparse: bool = False) -> None:
        super().__init__()
        self.output_size = dim
        self.sparse = sparse
        self.embedding = nn.Parameter(torch.zeros(vocab_size, dim))

    @property
    def word_shape(self) -> tuple[int, ...]:
        """Return the shape of a word's id, ()."""
        return ()

    @property
    def max_id(self) -> int:
        """Return V, the highest id of a word in a padded sentence, where ids count from 1."""
        return len(self.embedding)

    def reset_parameters(self) -> None:
        """Draw the initial values of all weights."""
        glorot_uniform_(self.embedding)

    def forward(self, word_ids: Tensor) -> Tensor:
        """Return the vectors, (U, D), of `word_ids` (U,): lines of the vocabulary file from 0 to V - 1."""
        return F.embedding(word_ids, self.embedding, sparse=self.sparse)
