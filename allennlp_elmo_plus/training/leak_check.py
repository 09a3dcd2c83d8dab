"""A check, by gradients, that neither direction of a language model sees the words it must predict."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch

_NUM_STEPS = 6
_NUM_ROWS = 2


class _Probe(nn.Module):
    """A replacement for the token encoder with one vector per position, so that gradients identify positions."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    def forward(self, characters: Tensor, buckets: object) -> Tensor:
        return self.vectors


class Leak(NamedTuple):
    """An output that depends on an input it must not see. Steps are counted in the direction's own reading order."""

    direction: str
    output_step: int
    input_step: int


def find_leaks(model: Any) -> list[Leak]:
    """Return each dependence of a direction's top output at step t on an input that the direction has not read by step t.

    Such inputs are the direction's own later inputs and all inputs of the other direction. A correct biLM has no such dependence. A
    model that mixes the directions between layers, or reads its input in both directions at once, sees the word that it predicts,
    and its perplexity means nothing.

    Args:
        model: A `LanguageModel`, or a module with its attributes. Its weights must be initialized: weights of zero hide leaks. The
            model is not changed.
    """
    was_training, encoder = model.training, model.token_encoder
    parameter = next(model.bilm.parameters())
    generator = torch.Generator().manual_seed(0)
    num_inputs = 2 * _NUM_ROWS * _NUM_STEPS
    vectors = torch.randn(num_inputs, model.bilm.output_size, generator=generator).to(parameter)
    probe = _Probe(vectors)
    try:
        model.token_encoder = probe
        model.eval()
        with torch.enable_grad():
            return _leaks(model, probe.vectors)
    finally:
        model.token_encoder = encoder
        model.train(was_training)


def _leaks(top_layer: Callable[[LanguageModelBatch], Any], vectors: Tensor) -> list[Leak]:
    inputs = torch.arange(len(vectors), device=vectors.device).view(2, _NUM_ROWS, _NUM_STEPS)
    targets = torch.zeros_like(inputs[0])
    top = top_layer(
        LanguageModelBatch(
            characters=targets,
            buckets=[],
            word_ids=targets,
            forward_inputs=inputs[0],
            backward_inputs=inputs[1],
            forward_targets=targets,
            backward_targets=targets,
            lengths=torch.full((_NUM_ROWS,), _NUM_STEPS, device=vectors.device),
            batch_sizes=[_NUM_ROWS] * _NUM_STEPS,
            carries_state=False,
        )
    )
    leaks = []
    for index, (direction, output) in enumerate((("forward", top.forward), ("backward", top.backward))):
        if output is None:
            continue
        # Squares, so that the gradients of two outputs do not cancel.
        steps = output.square().view(_NUM_STEPS, _NUM_ROWS, -1).sum((1, 2))
        for step in range(_NUM_STEPS):
            (gradient,) = torch.autograd.grad(steps[step], vectors, retain_graph=True)
            seen = gradient.abs().sum(1).view(2, _NUM_ROWS, _NUM_STEPS).sum(1) > 0
            forbidden = torch.ones_like(seen)
            forbidden[index, : step + 1] = False
            leaks += [Leak(direction, step, int(input_step)) for input_step in (seen & forbidden).any(0).nonzero()]
    return leaks
