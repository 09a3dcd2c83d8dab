"""
How a training step scales from one process to two on the same machine, and how many bytes the processes exchange.

The model has an LSTM of 512/128, 512 filters, 1 highway layer, 50,000 words and 1,024 negatives. Each process has 32 lanes x 20 words and
one thread, over gloo. Two processes do twice the work of one. The limit is two processes that train without any exchange; the
difference to it is the cost of the exchange.

`exchanged` counts the bytes that a process sends for the sums of a step: the dense gradients, which `DistributedDataParallel` sums, and
those of the softmax's rows (`training.distributed.sparse_gradients`), which are the rows in use and their values.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any, Optional

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.training.adagrad import Adagrad
from allennlp_elmo_plus.training.distributed.sparse_gradients import SparseGradientAllReduce, exclude_from_ddp
from allennlp_elmo_plus.training.loss import mean_loss

from .measurement.comparison import compare
from .measurement.report import Case, Report
from .measurement.rounds import Contender, Interval
from .measurement.settings import Settings
from .workloads.corpora import NUM_STEPS, plan_of, sample_corpus, vocabulary_ids
from .workloads.model_sizes import Options, bilm_options, tiny

NUM_PROCESSES, NUM_BATCHES = 2, 4
LIMIT = "limit: 2 processes that exchange nothing"
_FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]]


def run(settings: Settings) -> Report:
    options = settings.size(bilm_options(512, 128, _FILTERS, n_highway=1, n_negatives=1024), tiny())
    vocab_size, num_lanes = settings.size((50_000, 32), (300, 2))
    num_tokens = settings.tokens(200_000, 2_000)
    sample_corpus(settings.scratch, num_tokens)
    num_steps = settings.size(5, 1)
    with _Processes(settings.scratch, options, vocab_size, num_lanes, num_tokens, num_steps) as processes:
        tokens = num_lanes * NUM_STEPS
        contenders = [
            Contender("ours, 2 processes", processes.run("own"), 2 * tokens, limit=LIMIT, times_itself=True),
            Contender("ours, 2, same negatives", processes.run("same"), 2 * tokens, limit=LIMIT, times_itself=True),
            Contender("ours, 1 process", processes.run("alone"), tokens, times_itself=True),
            Contender(LIMIT, processes.run("apart"), 2 * tokens, times_itself=True),
        ]
        label = f"{vocab_size:,} words, {num_lanes} x {NUM_STEPS} in each process"
        case = compare(label, contenders, settings)
        _add_exchanged(case, [processes.exchanged("own"), processes.exchanged("same")])
    return Report("scaling", "a training step in one and in two processes", [case], notes=_notes(case))


def _add_exchanged(case: Case, exchanged: Sequence[dict[str, int]]) -> None:
    for figures, parts in zip(case.figures, exchanged):
        figures.exchanged_bytes = parts


def _notes(case: Case) -> list[str]:
    return [
        f"{figures.contender}: bytes that each process sends for the sums of a step: "
        + ", ".join(f"{part} {number:,}" for part, number in figures.exchanged_bytes.items())
        for figures in case.figures
        if figures.exchanged_bytes is not None
    ]


class _Processes:
    """Processes that train on request, together or separately."""

    def __init__(self, scratch: Path, *arguments: Any) -> None:
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch._dynamo", "torch.nn.parallel", __name__])
        self._pipes, self._workers = [], []
        for rank in range(NUM_PROCESSES):
            pipe, child_pipe = context.Pipe()
            worker = context.Process(target=_work, args=(child_pipe, rank, scratch, *arguments), daemon=True)
            worker.start()
            child_pipe.close()
            self._pipes.append(pipe)
            self._workers.append(worker)

    def run(self, kind: str) -> Callable[[], list[Interval]]:
        """Return a function that trains and returns the intervals of the process that ends last."""
        return lambda: max(self._request(kind, "step"), key=lambda intervals: intervals[-1].end)

    def exchanged(self, kind: str) -> dict[str, int]:
        return self._request(kind, "exchanged")[0]

    def _request(self, kind: str, action: str) -> list[Any]:
        """Send `action` to all processes that take part in `kind`. Return their answers."""
        pipes = self._pipes[:1] if kind == "alone" else self._pipes
        for pipe in pipes:
            pipe.send((kind, action))
        return [pipe.recv() for pipe in pipes]

    def __enter__(self) -> "_Processes":
        return self

    def __exit__(self, *_: Any) -> None:
        for pipe, worker in zip(self._pipes, self._workers):
            pipe.send(None)
            worker.join(10)
            worker.kill()


class _Loss(nn.Module):
    """A module whose forward pass returns the loss, for `DistributedDataParallel`."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: LanguageModelBatch, state: Optional[BiLMState]) -> tuple[Tensor, BiLMState]:
        assert batch.forward_negatives is not None and batch.backward_negatives is not None
        result = self.model.sampled_loss(batch, (batch.forward_negatives, batch.backward_negatives), state)
        loss = mean_loss(result.forward_nll_sum, result.backward_nll_sum, batch.forward_inputs.numel())
        return loss, result.state.detach()


class _Job:
    """The training of this process, with or without an exchange with other processes."""

    def __init__(
        self, options: Options, vocab_size: int, batches: Sequence[LanguageModelBatch], together: bool
    ) -> None:
        self._options = BiLMOptions.from_dict(options, inference=False)
        model = build_language_model(self._options, vocab_size)
        self._loss: nn.Module = _Loss(model)
        sparse = model.sparse_parameters()
        self._exchange = None
        if together:
            exclude_from_ddp(self._loss, sparse)
            self._loss, self._exchange = DistributedDataParallel(self._loss), SparseGradientAllReduce(sparse)
        sparse_ids = set(map(id, sparse))
        self._dense_bytes = sum(param.nbytes for param in model.parameters() if id(param) not in sparse_ids)
        self._optimizer = Adagrad(model.parameters(), max_norm=10.0, sparse_all_reduce=self._exchange)
        self._batches = cycle(batches)
        self._state: Optional[BiLMState] = None

    def step(self) -> None:
        self._optimizer.zero_grad()
        loss, self._state = self._loss(next(self._batches), self._state)
        (loss * self._options.unroll_steps).backward()
        self._optimizer.step()

    def exchanged(self) -> dict[str, int]:
        assert self._exchange is not None
        rows, values = self._exchange.last_bytes
        return {"dense gradients": self._dense_bytes, "which rows": rows, "values of rows": values}


def _work(
    pipe: Connection,
    rank: int,
    scratch: Path,
    options: Options,
    vocab_size: int,
    num_lanes: int,
    num_tokens: int,
    num_steps: int,
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{scratch / 'rendezvous'}", rank=rank, world_size=NUM_PROCESSES)
    jobs: dict[str, _Job] = {}
    while True:
        command = pipe.recv()
        if command is None:
            return
        kind, action = command
        if kind not in jobs:
            stream = rank if kind == "own" else 0
            batches = _batches(scratch, options, vocab_size, num_lanes, num_tokens, rank, stream)
            jobs[kind] = _Job(options, vocab_size, batches, together=kind in ("own", "same"))
            jobs[kind].step()
        pipe.send(_timed(jobs[kind].step, num_steps) if action == "step" else jobs[kind].exchanged())


def _batches(
    scratch: Path, options: Options, vocab_size: int, num_lanes: int, num_tokens: int, rank: int, stream: int
) -> list[LanguageModelBatch]:
    """Return the first batches of the lanes of process `rank`."""
    corpus = sample_corpus(scratch, num_tokens)
    sampler = LogUniformSampler(vocab_size, options["n_negative_samples_batch"])
    batcher = WindowBatcher(corpus, vocabulary_ids(corpus, vocab_size), sampler, negatives_stream=stream)
    plan = plan_of(corpus, num_lanes * NUM_PROCESSES)
    windows = LaneReader(corpus.tokens, plan, range(rank, plan.num_lanes, NUM_PROCESSES))
    return [batcher(window) for window, _ in zip(windows, range(NUM_BATCHES))]


def _timed(step: Callable[[], None], num_steps: int) -> list[Interval]:
    intervals = []
    for _ in range(num_steps):
        start = perf_counter()
        step()
        intervals.append(Interval(start, perf_counter()))
    return intervals
