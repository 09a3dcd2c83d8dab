"""The two softmax losses as they are defined, in plain PyTorch that autograd differentiates."""

import math

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample, log_expected_counts


def sampled_softmax_nll(
    hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, negatives: NegativeSample
) -> Tensor:
    """Return the sum over N positions of the sampled negative log-likelihood in nats: a scalar.

    A position with target t is scored against the sampled words S, without t itself where t was sampled:

        nll = log(exp(l_t) + sum_{j in S, j != t} exp(l_j)) - l_t,      l_j = hidden . weight_j + bias_j - log Q(j)

    Q(j) is the expected count of word j in the sample (TensorFlow's `sampled_softmax_loss`, which bilm-tf trains with).

    Args:
        hidden: What the language model predicts from, (N, D).
        targets: Vocabulary ids, (N,) int64.
        weight: Softmax weights, (V, D).
        bias: Softmax biases, (V,).
        negatives: One sample of S distinct words, shared by all positions.
    """
    target_log_expected = log_expected_counts(targets, negatives.num_tries, len(weight)).to(hidden.dtype)
    target_logits = (hidden * weight[targets]).sum(dim=1) + bias[targets] - target_log_expected
    logits = hidden @ weight[negatives.ids].t() + bias[negatives.ids] - negatives.log_expected.to(hidden.dtype)
    logits = logits.masked_fill(negatives.ids == targets.unsqueeze(1), -math.inf)
    return (torch.cat([target_logits.unsqueeze(1), logits], dim=1).logsumexp(dim=1) - target_logits).sum()


def exact_nll(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the negative log-likelihood in nats of each target under the whole vocabulary, (N,).

    Args:
        hidden: What the language model predicts from, (N, D).
        targets: Vocabulary ids, (N,) int64.
        weight: Softmax weights, (V, D).
        bias: Softmax biases, (V,).
    """
    return torch.nn.functional.cross_entropy(hidden @ weight.t() + bias, targets, reduction="none")
