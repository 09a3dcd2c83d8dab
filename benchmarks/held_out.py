"""
The exact softmax of evaluation: the negative log-likelihood of 640 tokens over the 793,471 words of the original vocabulary.

The alternative is the logits of all words at once, as AllenNLP's `SampledSoftmaxLoss` computes them in evaluation. The limit is
the matrix product of the same shapes, with the same number of words at once. Memory is the peak of a child process above the weights.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from allennlp_elmo_plus.kernels.gemm.linear import linear
from allennlp_elmo_plus.kernels.softmax.exact_softmax import exact_nll

from .measurement.comparison import compare
from .measurement.peak_memory import Meter
from .measurement.report import Report
from .measurement.rounds import Contender
from .measurement.settings import Settings
from .workloads.model_sizes import RELEASED_VOCABULARY

CHUNK_SIZE = 1024
LIMIT = "limit: the product alone"


class Problem(NamedTuple):
    hidden: Tensor  # (N, D)
    targets: Tensor  # (N,)
    weight: Tensor  # (V, D)
    bias: Tensor  # (V,)

    @classmethod
    def random(cls, num_tokens: int, vocab_size: int, dim: int) -> "Problem":
        torch.manual_seed(0)
        weight = torch.empty(vocab_size, dim).uniform_(-0.1, 0.1)
        return cls(
            torch.randn(num_tokens, dim), torch.randint(vocab_size, (num_tokens,)), weight, torch.zeros(vocab_size)
        )


def run(settings: Settings) -> Report:
    sizes = settings.size((640, RELEASED_VOCABULARY, 512), (8, 3_000, 16))
    num_tokens, vocab_size, dim = sizes
    problem = Problem.random(*sizes)
    flops = 2.0 * num_tokens * vocab_size * dim
    case = compare(
        f"{num_tokens} tokens, {vocab_size:,} words, {dim} wide",
        [
            Contender("ours", partial(chunked, problem), num_tokens, flops=flops, limit=LIMIT),
            Contender("all logits at once", partial(at_once, problem), num_tokens, flops=flops, limit=LIMIT),
            Contender(LIMIT, partial(product_alone, problem), num_tokens, flops=flops),
        ],
        settings,
    )
    del problem
    for figures, job in zip(case.figures, ("chunked", "at_once"), strict=False):
        figures.peak_bytes = settings.peak_of("benchmarks.held_out:in_child", job=job, sizes=sizes).peak_bytes
    return Report("held_out", "exact softmax of evaluation", [case])


@torch.no_grad()
def chunked(problem: Problem) -> Tensor:
    return exact_nll(*problem, CHUNK_SIZE)


@torch.no_grad()
def at_once(problem: Problem) -> Tensor:
    logits = torch.matmul(problem.hidden, problem.weight.t()) + problem.bias
    return cross_entropy(logits, problem.targets, reduction="none")


@torch.no_grad()
def product_alone(problem: Problem) -> None:
    """Compute one product for each chunk of words."""
    for chunk in problem.weight.split(CHUNK_SIZE):
        linear(problem.hidden, chunk.t())


def in_child(meter: Meter, job: str, sizes: list[int]) -> None:
    problem = Problem.random(*sizes)
    # The first product makes its libraries allocate memory that they keep.
    problem.hidden @ problem.weight[:CHUNK_SIZE].t()
    meter.start()
    {"chunked": chunked, "at_once": at_once}[job](problem)
