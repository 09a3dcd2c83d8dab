"""Characters of each distinct word -> each filter's maximum over the positions of the word."""

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.text.characters import PADDING_ID
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.char_conv.conv_max_pool import conv_max_pool
from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.modules.initialization import normal_

# Bound of the filters' initial values with relu, as in bilm-tf.
_RELU_BOUND = 0.05
_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


class CharacterCNN(nn.Module):
    """The character CNN of Peters et al. 2018, section 3.4: activation(max over positions(convolution + bias)), as in bilm-tf.

    Filters of several widths run in parallel, without padding at a word's ends. Everything is computed in the weights' type, under
    autocast too: the CNN is a small share of a training step, and rounding would make positions tie.

    Args:
        embedding_dim: Size of a character's vector, at least 1.
        filters: The [width in characters, number] of the filters of each width.
        activation: "relu" or "tanh".
        max_characters: C, the characters of a word.
        num_characters: A, the highest character id, which is padding.

    All weights are zero until they are initialized or loaded.
    """

    def __init__(
        self,
        embedding_dim: int,
        filters: Sequence[Sequence[int]],
        activation: str,
        max_characters: int = 50,
        num_characters: int = PADDING_ID,
    ) -> None:
        super().__init__()
        self.max_characters = max_characters
        self.num_filters = sum(number for _, number in filters)
        self.activation = activation
        self.embedding = nn.Parameter(torch.zeros(num_characters, embedding_dim))
        self.weights = nn.ParameterList(torch.zeros(number, embedding_dim, width) for width, number in filters)
        self.biases = nn.ParameterList(torch.zeros(number) for _, number in filters)

    def reset_parameters(self) -> None:
        """Draw the initial values of all weights."""
        nn.init.uniform_(self.embedding, -1.0, 1.0)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            if self.activation == "relu":
                nn.init.uniform_(weight, -_RELU_BOUND, _RELU_BOUND)
            else:
                _, embedding_dim, width = weight.shape
                normal_(weight, 1 / (width * embedding_dim))
            nn.init.zeros_(bias)

    def forward(self, characters: Tensor, buckets: Optional[Sequence[tuple[int, int]]] = None) -> Tensor:
        """Return the filters' activations for each word, (U, num_filters).

        Args:
            characters: Character ids from 1 to A, (U, C).
            buckets: Where padding begins, as `kernels.char_conv.conv_max_pool` takes it; None for words in any order.

        Raises:
            InputError: `characters` have another width.
            ValueError: `characters` have ids out of range, or `buckets` do not fit the words.
        """
        if characters.dim() != 2 or characters.shape[1] != self.max_characters:
            raise InputError(
                f"`characters` must have shape (U, {self.max_characters}), by the biLM's `max_characters_per_token`, got "
                f"{tuple(characters.shape)}"
            )
        common_dtype(self)
        if len(characters) == 0:
            return self.embedding.new_zeros(0, self.num_filters)
        lowest, highest = torch.stack(torch.aminmax(characters)).tolist()
        padding_id = len(self.embedding)
        if lowest < 1 or highest > padding_id:
            out_of_range = lowest if lowest < 1 else highest
            raise ValueError(f"`characters` must be from 1 to {padding_id}, got {out_of_range}")
        maxima = conv_max_pool(characters, self.embedding, list(self.weights), list(self.biases), buckets)
        return _ACTIVATIONS[self.activation](maxima)
