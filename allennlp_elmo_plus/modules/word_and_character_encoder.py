"""Distinct words of a batch -> their vectors, from an embedding of words and a character CNN together."""

from typing import Any, Optional, Union

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.kernels.gemm.linear import affine, pad_rows_to_multiple
from allennlp_elmo_plus.modules.initialization import normal_
from allennlp_elmo_plus.modules.token_encoder import CharacterEncoder, WordEncoder


class WordAndCharacterEncoder(nn.Module):
    """The token encoder of ELMoForManyLangs: one projection of [the word's embedding; the highway layers' output].

    A table of vectors without rows, of words or characters, gets the number of rows that a loaded state dict has. So the archive
    of a downstream model holds all that this encoder needs; no option repeats the size of a dictionary.

    The projection's weights are zero until they are initialized or loaded.

    Args:
        words: The embedding of words; None for none.
        characters: The character CNN with its highway layers, without projection; None for none.
        projection_dim: D, at least 1.
    """

    def __init__(
        self, words: Optional[WordEncoder], characters: Optional[CharacterEncoder], projection_dim: int
    ) -> None:
        super().__init__()
        self.words = words
        self.characters = characters
        self.output_size = projection_dim
        width = sum(part.output_size for part in (words, characters) if part is not None)
        self.projection_weight = nn.Parameter(torch.zeros(width, projection_dim))
        self.projection_bias = nn.Parameter(torch.zeros(projection_dim))

    @property
    def word_shape(self) -> tuple[int, ...]:
        """Return the shape of a word's ids, (R,): the word's own, then its characters'."""
        num_characters = 0 if self.characters is None else self.characters.cnn.max_characters
        return ((self.words is not None) + num_characters,)

    @property
    def max_id(self) -> int:
        """Return the highest id."""
        return max(len(table.embedding) for table in self._tables())

    def reset_parameters(self) -> None:
        """Draw the initial values of all weights."""
        normal_(self.projection_weight, 1 / len(self.projection_weight))
        nn.init.zeros_(self.projection_bias)
        for part in (self.words, self.characters):
            if part is not None:
                part.reset_parameters()

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of words, (U, D), for their `ids` from 1, (U, R).

        Raises:
            ValueError: An id is out of range.
        """
        parts, first_character = [], 0
        if self.words is not None:
            first_character = 1
            word_ids, num_words = ids[:, 0], len(self.words.embedding)
            if len(ids) and not 1 <= int(word_ids.min()) <= int(word_ids.max()) <= num_words:
                raise ValueError(
                    f"ids of words must be from 1 to {num_words}, got from {int(word_ids.min())} to {int(word_ids.max())}"
                )
            parts.append(self.words(word_ids - 1))
        if self.characters is not None:
            parts.append(self.characters(ids[:, first_character:]))
        dtype = common_dtype(self, recurse=False)
        vectors = pad_rows_to_multiple(torch.cat([part.to(dtype) for part in parts], dim=1))
        return affine(vectors, self.projection_weight, self.projection_bias)[: len(ids)]

    def _tables(self) -> list[Any]:
        characters = None if self.characters is None else self.characters.cnn
        return [part for part in (self.words, characters) if part is not None]

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # PyTorch loads the children after this module.
        for name, module in self.named_modules():
            table: Union[Tensor, nn.Module, None] = getattr(module, "embedding", None)
            loaded = state_dict.get(f"{prefix}{name}.embedding")
            if isinstance(table, nn.Parameter) and len(table) == 0 and loaded is not None:
                rows = table.new_empty(len(loaded), table.shape[1])
                module.embedding = nn.Parameter(rows, table.requires_grad)
        super()._load_from_state_dict(state_dict, prefix, *args)
