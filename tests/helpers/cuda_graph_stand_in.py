"""
A stand-in for PyTorch's CUDA graphs on a CPU. A replay calls the function again, but, like a graph, it stores inputs, results and
gradients in the same memory each time, so that the next replay overwrites them.
"""

import torch

from allennlp_elmo_plus.kernels import cuda_graph as graph_capture


class Replay:
    """A captured function on a CPU."""

    all_replays: list["Replay"] = []

    def __init__(self, function, samples):
        self.function, self.inputs, self.replays = function, samples, 0
        self.results = [result.detach().clone() for result in function(*samples)]
        self.grads = [torch.zeros_like(sample) for sample in samples if sample.requires_grad]
        Replay.all_replays.append(self)

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
        for stored, result in zip(replay.results, replay.computed):
            stored.copy_(result.detach())
        return tuple(result.detach() for result in replay.results)

    @staticmethod
    def backward(ctx, *grads):
        replay = ctx.replay
        leaves = [sample for sample in replay.inputs if sample.requires_grad]
        for stored, grad in zip(replay.grads, torch.autograd.grad(replay.computed, leaves, grads)):
            stored.copy_(grad)
        remaining = iter(replay.grads)
        return (None, *(next(remaining).detach() if sample.requires_grad else None for sample in replay.inputs))


def capture_without_gpu(monkeypatch):
    """Let PyTorch capture functions as Replay objects. Return the list of captured functions, which grows with each capture."""
    Replay.all_replays = []
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", Replay)
    monkeypatch.setattr(
        graph_capture,
        "_may_capture",
        lambda tensors: torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors),
    )
    return Replay.all_replays
