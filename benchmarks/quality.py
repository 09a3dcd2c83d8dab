"""
Training time until a held-out perplexity of 250, on the text of `--text`, of which every tenth line is held out.

The model is that of `pretraining`, without dropout, over all words that occur at least twice. The contenders take turns of some
batches. Only training is timed. After each turn a contender computes the exact perplexity of the held-out text, the geometric mean of
both directions.

AllenNLP's parts read the same windows as ours. Both of their directions read a window of running text, so the target of the backward
direction is the word before, and its state comes from the window before, as AllenNLP's modules carry it. There is one run of each
contender, whatever the number of rounds.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.lane_plan import LanePlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS

from .measurement.report import Case, Figures, Report, duration
from .measurement.settings import Settings
from .pretraining import NUM_LANES, NUM_STEPS, wikitext_options
from .workloads.model_sizes import Options, tiny
from .workloads.sample_text import write_text
from .workloads.training_step import TrainingJob

TARGET = 250.0
# A contender that needs more is stopped.
MAX_EPOCHS = 6


class Text(NamedTuple):
    """A text to train on, in `num_lanes` lanes, and a held-out text, with the id of each of their types in one vocabulary."""

    train: EncodedCorpus
    train_ids: np.ndarray
    held_out: EncodedCorpus
    held_out_ids: np.ndarray
    vocab_size: int
    num_lanes: int


class Learner(NamedTuple):
    """A contender: `train` takes a step, `perplexity` computes the exact perplexity of the held-out text."""

    name: str
    train: Callable[[], object]
    perplexity: Callable[[], float]


def run(settings: Settings) -> Report:
    title = f"training time until a held-out perplexity of {TARGET:.0f}"
    source = settings.text
    if source is None and not settings.quick:
        return Report("quality", title, [], notes=["nothing is measured without a real text: --text FILE"])
    if source is None:
        source = settings.scratch / "text.txt"
        write_text(source, 2_000)
    text = read_text(source, settings.scratch, settings.size(NUM_LANES, 4))
    options = settings.size(wikitext_options(dropout=0.0), tiny())
    learners = [_ours("ours", options, text, False), _ours("ours, bf16", options, text, True)]
    reason = settings.why_without_allennlp()
    if reason is None:
        learners.append(_theirs(options, text))
    steps_per_turn = settings.size(20, 2)
    max_steps = settings.size(MAX_EPOCHS * text.train.num_tokens // (text.num_lanes * NUM_STEPS), 4)
    figures = race(learners, TARGET, steps_per_turn, max_steps, settings)
    label = f"{options['lstm']['dim']}/{options['lstm']['projection_dim']}, {source.name}, {text.vocab_size:,} words"
    notes = [] if reason is None else [reason]
    ratio_is = "time / that of the first line"
    return Report("quality", title, [Case(label, figures)], ratio_is=ratio_is, notes=notes)


def race(
    learners: list[Learner], target: float, steps_per_turn: int, max_steps: int, settings: Settings
) -> list[Figures]:
    """Train all `learners` in turns until each reaches the perplexity `target` or `max_steps`; return their training times."""
    seconds = dict.fromkeys((learner.name for learner in learners), 0.0)
    remarks: dict[str, str] = {}
    num_steps = 0
    while len(remarks) < len(learners):
        num_steps += steps_per_turn
        for learner in learners:
            if learner.name in remarks:
                continue
            start = time.perf_counter()
            for _ in range(steps_per_turn):
                learner.train()
            end = time.perf_counter()
            seconds[learner.name] += end - start - settings.steal_time(start, end)
            perplexity = learner.perplexity()
            if perplexity <= target:
                remarks[learner.name] = f"{perplexity:.0f} after {num_steps:,} steps"
            elif num_steps >= max_steps:
                remarks[learner.name] = f"not reached: {perplexity:,.0f} after {num_steps:,} steps"
    first = seconds[learners[0].name]
    return [
        Figures(
            learner.name,
            [seconds[learner.name]],
            ratio=seconds[learner.name] / first if learner is not learners[0] else None,
            remark=f"{remarks[learner.name]}, {duration(seconds[learner.name])}",
        )
        for learner in learners
    ]


def read_text(source: Path, directory: Path, num_lanes: int) -> Text:
    """Encode `source` below `directory`, every tenth line as held-out text."""
    lines = [line for line in source.read_text("utf-8").splitlines() if line.strip()]
    parts = {"held_out": lines[9::10], "train": [line for number, line in enumerate(lines) if number % 10 != 9]}
    corpora = {}
    for name, part in parts.items():
        path = directory / f"{name}.txt"
        path.write_text("\n".join(part) + "\n", encoding="utf-8")
        corpora[name] = open_or_encode(path, directory / "encoded")
    counts = Counter(word for line in parts["train"] for word in line.split() if word not in SPECIAL_WORDS)
    words = [*SPECIAL_WORDS, *(word for word, number in counts.most_common() if number > 1)]
    vocabulary = {word: number for number, word in enumerate(words)}
    train, held_out = corpora["train"], corpora["held_out"]
    ids = train.vocabulary_ids(vocabulary), held_out.vocabulary_ids(vocabulary)
    return Text(train, ids[0], held_out, ids[1], len(words), num_lanes)


def training_windows(text: Text, num_negatives: int) -> Iterator[LanguageModelBatch]:
    """Yield the full windows of epoch after epoch, without end."""
    sampler = LogUniformSampler(text.vocab_size, num_negatives)
    for epoch in count():
        plan = LanePlan(text.train.offsets, text.num_lanes, NUM_STEPS, shuffle=True, seed=0, epoch=epoch)
        batcher = WindowBatcher(text.train, text.train_ids, sampler, epoch=epoch)
        yield from _full(map(batcher, LaneReader(text.train.tokens, plan)))


def held_out_windows(text: Text) -> list[LanguageModelBatch]:
    plan = LanePlan(text.held_out.offsets, text.num_lanes // 4, NUM_STEPS, shuffle=False, seed=0, epoch=0)
    batcher = WindowBatcher(text.held_out, text.held_out_ids)
    return list(_full(map(batcher, LaneReader(text.held_out.tokens, plan))))


def _full(windows: Iterator[LanguageModelBatch]) -> Iterator[LanguageModelBatch]:
    return (window for window in windows if int(window.lengths.min()) == NUM_STEPS)


def _ours(name: str, options: Options, text: Text, bfloat16: bool) -> Learner:
    windows = training_windows(text, options["n_negative_samples_batch"])
    job, held_out = TrainingJob(options, text.vocab_size, windows, bfloat16), held_out_windows(text)

    @torch.no_grad()
    def perplexity() -> float:
        job.model.eval()
        nll_sum, state = 0.0, None
        for window in held_out:
            result = job.model.exact_loss(window, state)
            assert result.backward_nll is not None
            nll_sum, state = nll_sum + float(result.forward_nll.sum() + result.backward_nll.sum()), result.state
        job.model.train()
        return math.exp(nll_sum / (2 * _num_targets(held_out)))

    return Learner(name, job.step, perplexity)


def _theirs(options: Options, text: Text) -> Learner:
    # Imported here, because AllenNLP may be missing.
    from .workloads.allennlp_parts import AllenNlpJob

    job, held_out = AllenNlpJob(options, text.vocab_size), held_out_windows(text)
    windows = running_windows(training_windows(text, options["n_negative_samples_batch"]))
    lstm = job.parts.bilm._elmo_lstm

    @torch.no_grad()
    def perplexity() -> float:
        job.parts.eval()
        state, lstm._states = lstm._states, None
        nll_sum = sum(float(job.parts(*window)) * window[1].numel() for window in running_windows(iter(held_out)))
        lstm._states = state
        job.parts.train()
        return math.exp(nll_sum / _num_targets(held_out))

    return Learner("AllenNLP's parts", lambda: job.step(*next(windows)), perplexity)


def running_windows(windows: Iterator[LanguageModelBatch]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield characters (B, T, C) of the text in order, the id of the word after each word (B, T) and of the word before it (B, T)."""
    last = None
    for window in windows:
        ids = window.word_ids[window.forward_inputs]
        before = ids[:, :1] if last is None else last
        last = ids[:, -1:]
        characters = window.characters[window.forward_inputs].long()
        yield characters, window.forward_targets, torch.cat([before, ids[:, :-1]], dim=1)


def _num_targets(windows: list[LanguageModelBatch]) -> int:
    return sum(window.forward_targets.numel() for window in windows)
