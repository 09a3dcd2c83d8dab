"""Which vectors a word gets out of its layers: all of them, the top one, their average, or a trained mix."""

from collections.abc import Sequence
from typing import NamedTuple, Union

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError

ALL = "all"
TOP = "top"
AVERAGE = "average"


class LayerMix(NamedTuple):
    """The sum of the layers, each times its weight: gamma * softmax(s) of Peters et al. 2018, section 3.2."""

    weights: tuple[float, ...]  # L + 1, from the word's own vector to the top layer


LayerOutput = Union[str, LayerMix]


def check_layer_output(output: LayerOutput, num_layers: int) -> None:
    """Raises InputError unless `output` is "all", "top", "average" or a LayerMix of `num_layers` weights, L + 1."""
    if isinstance(output, LayerMix):
        if len(output.weights) != num_layers:
            raise InputError(
                f"a mix of this biLM must have {num_layers} weights, one a layer, got {len(output.weights)}"
            )
    elif output not in (ALL, TOP, AVERAGE):
        raise InputError(f'`layers` must be "{ALL}", "{TOP}", "{AVERAGE}" or a LayerMix, got {output!r}')


def num_vectors(output: LayerOutput, num_layers: int) -> int:
    """How many vectors a word of `num_layers` layers, L + 1, gets."""
    return num_layers if output == ALL else 1


def combine_layers(layers: Sequence[Tensor], output: LayerOutput) -> Tensor:
    """layers: L + 1 times (N, D) -> (number of vectors a word gets, N, D)."""
    if output == ALL:
        return torch.stack(list(layers))
    if output == TOP:
        return layers[-1].unsqueeze(0)
    if isinstance(output, LayerMix):
        mixed = output.weights[0] * layers[0]
        for weight, layer in zip(output.weights[1:], layers[1:], strict=True):
            mixed = mixed + weight * layer
        return mixed.unsqueeze(0)
    return torch.stack(list(layers)).mean(dim=0, keepdim=True)
