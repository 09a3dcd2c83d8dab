"""The combination of a word's layers into its vectors: all, one of them, their average, their sum, or a trained mix."""

from collections.abc import Sequence
from typing import NamedTuple, Union

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError

ALL = "all"
TOP = "top"
AVERAGE = "average"
SUM = "sum"


class LayerMix(NamedTuple):
    """A weighted sum of the layers; the weights are gamma * softmax(s) of Peters et al. 2018, section 3.2."""

    weights: tuple[float, ...]  # L + 1, from the word's own vector to the top layer


# A number is that of one layer: 0 is the word's own vector, L the top layer.
LayerOutput = Union[str, int, LayerMix]


def check_layer_output(output: LayerOutput, num_layers: int) -> None:
    """Check that `output` fits a biLM of `num_layers` layers, L + 1.

    Raises:
        InputError: `output` is neither "all", "top", "average" or "sum", nor a number from 0 to `num_layers` - 1, nor a LayerMix
            of `num_layers` weights.
    """
    if isinstance(output, int) and not isinstance(output, bool):
        if not 0 <= output < num_layers:
            raise InputError(f"`layers` must be from 0 to {num_layers - 1}, the layers of this biLM, got {output}")
    elif isinstance(output, LayerMix):
        if len(output.weights) != num_layers:
            raise InputError(
                f"a mix of this biLM must have {num_layers} weights, one per layer, got {len(output.weights)}"
            )
    elif output not in (ALL, TOP, AVERAGE, SUM):
        raise InputError(
            f'`layers` must be "{ALL}", "{TOP}", "{AVERAGE}", "{SUM}", the number of a layer or a LayerMix, got {output!r}'
        )


def num_vectors(output: LayerOutput, num_layers: int) -> int:
    """Return the number of vectors per word, where a word has `num_layers` layers, L + 1."""
    return num_layers if output == ALL else 1


def combine_layers(layers: Sequence[Tensor], output: LayerOutput) -> Tensor:
    """Return the vectors of N words, (num_vectors, N, D), from their `layers`: L + 1 times (N, D)."""
    if output == ALL:
        return torch.stack(list(layers))
    if output == TOP:
        return layers[-1].unsqueeze(0)
    if isinstance(output, int):
        return layers[output].unsqueeze(0)
    if isinstance(output, LayerMix):
        mixed = output.weights[0] * layers[0]
        for weight, layer in zip(output.weights[1:], layers[1:], strict=True):
            mixed = mixed + weight * layer
        return mixed.unsqueeze(0)
    if output == SUM:
        return torch.stack(list(layers)).sum(dim=0, keepdim=True)
    return torch.stack(list(layers)).mean(dim=0, keepdim=True)
