"""The exact softmax over the whole vocabulary, for evaluation and small vocabularies, never holding (N, V) logits."""

import math
from collections.abc import Iterator
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allennlp_elmo_plus.kernels.backend import run
from allennlp_elmo_plus.kernels.gemm.linear import addmm_, addmm_tn_, linear
from allennlp_elmo_plus.kernels.softmax import reference
from allennlp_elmo_plus.kernels.softmax.operands import check_shapes, target_logits

# Tokens whose logits are held at once on a CPU. With chunks of some thousand words, these logits fit a core's cache.
CPU_BLOCK_TOKENS = 256


def exact_nll(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, chunk_size: int = 1024) -> Tensor:
    """Return the negative log-likelihood in nats of each target, (N,), float32 for half-precision `hidden`.

        nll = log sum_j exp(hidden . weight_j + bias_j) - (hidden . weight_t + bias_t)

    At most N * chunk_size logits are held at once; the backward pass computes them again. Matrix products run in the type of
    `hidden`, all else in float32 or wider. Gradients are dense.

    Args:
        hidden: The output of the language model, (N, D).
        targets: Vocabulary ids below V, (N,) int64.
        weight: Softmax weights, (V, D).
        bias: Softmax biases, (V,).
        chunk_size: Words whose logits are computed at once, at least 1.

    Raises:
        ValueError: A tensor has another shape or type, or `chunk_size` is below 1.
    """
    check_shapes(hidden, targets, weight, bias)
    if chunk_size < 1:
        raise ValueError(f"`chunk_size` must be at least 1, got {chunk_size}")
    implementations = {
        "torch": lambda: _ExactSoftmax.apply(hidden, targets, weight, bias, chunk_size),
        "reference": lambda: _reference_nll(hidden, targets, weight, bias),
    }
    return run("exact_softmax", weight, implementations)


def _reference_nll(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        return reference.exact_nll(hidden.to(dtype), targets, weight.to(dtype), bias.to(dtype))


def blocks_of_logits(
    hidden: Tensor, weight: Tensor, bias: Tensor, chunk_size: int
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Yield blocks of all logits: tokens, words, the words' weights (words, D) in the type of `hidden`, and logits (tokens, words).

    Words are the outer loop, so that the weights, by far the largest tensor, are read from memory once.
    """
    sum_dtype = torch.promote_types(hidden.dtype, torch.float32)
    chunk_size = min(chunk_size, len(weight))
    block_size = min(len(hidden), CPU_BLOCK_TOKENS) if hidden.device.type == "cpu" else len(hidden)
    for first_word in range(0, len(weight), chunk_size):
        words = slice(first_word, min(first_word + chunk_size, len(weight)))
        word_weight, word_bias = weight[words].to(hidden.dtype), bias[words].to(sum_dtype)
        for first_token in range(0, len(hidden), max(1, block_size)):
            tokens = slice(first_token, min(first_token + block_size, len(hidden)))
            yield tokens, words, word_weight, linear(hidden[tokens], word_weight.t(), word_bias)


class _ExactSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, chunk_size: int) -> Tensor:
        sum_dtype = torch.promote_types(hidden.dtype, torch.float32)
        # In float64: hundreds of chunks would each add a rounding error, and one value per token costs little.
        log_totals = hidden.new_full(hidden.shape[:1], -math.inf, dtype=torch.float64)
        for tokens, _, _, logits in blocks_of_logits(hidden, weight, bias, chunk_size):
            peak = logits.amax(1)
            chunk_totals = logits.sub_(peak.unsqueeze(1)).exp_().sum(1)
            log_totals[tokens] = torch.logaddexp(log_totals[tokens], chunk_totals.double().log_().add_(peak))
        target_weight = weight[targets].to(hidden.dtype)
        target = target_logits(hidden, target_weight, bias[targets].to(sum_dtype))
        ctx.save_for_backward(hidden, targets, weight, bias, log_totals)
        ctx.chunk_size = chunk_size
        return (log_totals - target).to(sum_dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nll: Tensor) -> tuple[Optional[Tensor], ...]:
        hidden, targets, weight, bias, log_totals = ctx.saved_tensors
        needs_hidden, _, needs_weight, needs_bias, _ = ctx.needs_input_grad
        sum_dtype = grad_nll.dtype
        log_totals = log_totals.to(sum_dtype)
        grad_hidden = torch.zeros_like(hidden, dtype=sum_dtype) if needs_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=sum_dtype) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=sum_dtype) if needs_bias else None
        for tokens, words, word_weight, logits in blocks_of_logits(hidden, weight, bias, ctx.chunk_size):
            probs = logits.sub_(log_totals[tokens].unsqueeze(1)).exp_().mul_(grad_nll[tokens].unsqueeze(1))
            factors = probs.to(hidden.dtype)
            if grad_hidden is not None:
                addmm_(grad_hidden[tokens], factors, word_weight)
            if grad_weight is not None:
                addmm_tn_(grad_weight[words], factors, hidden[tokens])
            if grad_bias is not None:
                grad_bias[words].add_(probs.sum(0))
        grad_target = grad_nll.neg().unsqueeze(1)
        if grad_hidden is not None:
            grad_hidden = grad_hidden.addcmul_(grad_target, weight[targets].to(sum_dtype)).to(hidden.dtype)
        if grad_weight is not None:
            grad_weight = grad_weight.index_add_(0, targets, grad_target * hidden).to(weight.dtype)
        if grad_bias is not None:
            grad_bias = grad_bias.index_add_(0, targets, grad_target.squeeze(1)).to(bias.dtype)
        return grad_hidden, None, grad_weight, grad_bias, None
