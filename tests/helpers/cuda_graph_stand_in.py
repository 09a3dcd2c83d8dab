"""
PyTorch's capture of CUDA graphs, stood in for on a CPU: it computes anew, but keeps inputs, activations, results and gradients in
the same places as a graph does, so that the next replay overwrites them.
"""

import torch

from allennlp_elmo_plus.kernels import cuda_graph as graph_capture


class Replay:
    """A captured function, on a CPU."""

    made: list["Replay"] = []

    def __init__(self, function, samples):
        self.function, self.inputs, self.replays = function, samples, 0
        self.results = [result.detach().clone() for result in function(*samples)]
        self.grads = [torch.zeros_like(sample) for sample in samples if sample.requires_grad]
        Replay.made.append(self)

    def __call__(self, *tensors):
        assert [tensor.shape for tensor in tensors] == [sample.shape for sample in self.inputs]
        return _Replayed.apply(self, *tensors)


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, replay, *tensors):
        ctx.replay = replay
        replay.replays += 1
        for sample, tensor in zip(replay.inputs, tensors):
            sample.data.copy_(tensor)
        with torch.enable_grad():
            replay.computed = replay.function(*replay.inputs)
        for kept, result in zip(replay.results, replay.computed):
            kept.copy_(result.detach())
        return tuple(result.detach() for result in replay.results)

    @staticmethod
    def backward(ctx, *grads):
        replay = ctx.replay
        leaves = [sample for sample in replay.inputs if sample.requires_grad]
        for kept, grad in zip(replay.grads, torch.autograd.grad(replay.computed, leaves, grads)):
            kept.copy_(grad)
        remaining = iter(replay.grads)
        return (None, *(next(remaining).detach() if sample.requires_grad else None for sample in replay.inputs))


def capture_without_gpu(monkeypatch):
    """The captured functions, in order."""
    Replay.made = []
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", Replay)
    monkeypatch.setattr(
        graph_capture,
        "_may_capture",
        lambda tensors: torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors),
    )
    return Replay.made
