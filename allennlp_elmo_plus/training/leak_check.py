"""Does either direction see what it must predict? Answered by gradients, for any language model that follows the interface."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.window_batcher import LanguageModelBatch

_NUM_STEPS = 6
_NUM_ROWS = 2


class _Probe(nn.Module):
    """Stands in for the token encoder: hands out one free vector for each position, so that gradients name positions."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    def forward(self, characters: Tensor, buckets: object) -> Tensor:
        return self.vectors


class Leak(NamedTuple):
    """An output that depends on an input it must not see, both counted in the direction's own reading order."""

    direction: str
    output_step: int
    input_step: int


def find_leaks(model: Any) -> list[Leak]:
    """Every dependence of a direction's top output at step t on an input the direction has not read by then: its own later inputs, or
    any input of the other direction. An honest biLM has none; one whose directions are mixed between layers, or whose input is read
    both ways at once, sees the word it predicts and reports a perplexity that means nothing.

    model: a `LanguageModel`, or a module with its attributes. Parameters that are all zero would hide a leak, so the check runs on
    weights as they are and should be given initialised ones. The model is left as it was, in the mode it was in.
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
        # Squares, so that no output's gradient cancels against another's.
        steps = output.square().view(_NUM_STEPS, _NUM_ROWS, -1).sum((1, 2))
        for step in range(_NUM_STEPS):
            (gradient,) = torch.autograd.grad(steps[step], vectors, retain_graph=True)
            seen = gradient.abs().sum(1).view(2, _NUM_ROWS, _NUM_STEPS).sum(1) > 0
            forbidden = torch.ones_like(seen)
            forbidden[index, : step + 1] = False
            leaks += [Leak(direction, step, int(place)) for place in (seen & forbidden).any(0).nonzero()]
    return leaks
