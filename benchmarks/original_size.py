"""
A whole training step at the size of Peters et al. 2018: cell 4096, projection 512, 8,192 negatives, 32 lanes of 20 words.

With 50,000 words the alternative is the same job of AllenNLP's parts (`workloads/allennlp_parts.py`); both without dropout. With the
793,471 words of the original vocabulary there is no alternative: with dense gradients of all rows, AllenNLP's step takes minutes. Ours
also runs with products in bfloat16, for processors that support them. The limit is the step's matrix products in float32: distinct words
encoded once, LSTMs and sampled softmax, forward and backward.
"""

from itertools import cycle
from typing import Optional

from .measurement.comparison import compare
from .measurement.report import Case, Report
from .measurement.rounds import Contender
from .measurement.settings import Settings
from .workloads.corpora import sample_corpus, training_batches
from .workloads.model_sizes import RELEASED_VOCABULARY, Options, released_original, tiny
from .workloads.products import Products, training_shapes
from .workloads.training_step import TrainingJob

NUM_BATCHES = 4
LIMIT = "limit: the products alone"


def run(settings: Settings) -> Report:
    options = settings.size(released_original(), tiny())
    small, large = settings.size((50_000, RELEASED_VOCABULARY), (200, 500))
    reason = settings.why_without_allennlp()
    # Sequentially, so that only one model is in memory.
    cases = [_case(options, small, reason is None, settings), _case(options, large, False, settings)]
    return Report(
        "original_size", "training step at the original size", cases, notes=[] if reason is None else [reason]
    )


def _case(options: Options, vocab_size: int, with_allennlp: bool, settings: Settings) -> Case:
    num_lanes = settings.size(32, 4)
    corpus = sample_corpus(settings.scratch, settings.tokens(200_000, 2_000))
    batches = training_batches(corpus, vocab_size, num_lanes, options["n_negative_samples_batch"], NUM_BATCHES)
    job = TrainingJob(options, vocab_size, batches)
    in_bfloat16 = TrainingJob(options, vocab_size, batches, bfloat16=True)
    num_tokens = int(batches[0].lengths.sum())
    products = Products(training_shapes(job.options, batches[0]), backward=True)
    contenders: list[Optional[Contender]] = [
        Contender("ours", job.step, num_tokens, flops=products.flops, limit=LIMIT),
        Contender("ours, bfloat16 products", in_bfloat16.step, num_tokens, flops=products.flops),
        Contender(LIMIT, products, num_tokens, flops=products.flops),
    ]
    if with_allennlp:
        # Imported here, because AllenNLP may be missing.
        from .workloads.allennlp_parts import allennlp_step

        step, theirs = allennlp_step(options, vocab_size), cycle(batches)
        contenders.insert(
            2, Contender("AllenNLP's parts", lambda: step(next(theirs)), num_tokens, flops=products.flops, limit=LIMIT)
        )
    return compare(f"{vocab_size:,} words, batch {num_lanes} x 20", contenders, settings)
