"""
Run the trainer of flair's language models in a separate process, on request, and report the time of each batch.

The model reads characters in one direction (Akbik et al. 2018, "Contextual String Embeddings for Sequence Labeling") and has the size of
flair's fast released models: 1,024 cells, windows of 250 characters, 100 lanes. A biLM needs two such models.
"""

import os
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from flair.data import Dictionary
from flair.models import LanguageModel
from flair.trainers.language_model_trainer import LanguageModelTrainer, TextCorpus

from ..measurement.rounds import Interval

NUM_CELLS, NUM_CHARACTERS, NUM_LANES = 1024, 250, 100


class ClockedLanguageModel(LanguageModel):
    """
    A `LanguageModel` whose `forward`, which the trainer calls once per batch, answers the messages of `pipe` as `clock.Clock` does.

    So an interval is from one forward pass to the next: gradients, clip and update are part of it.
    """

    def __init__(
        self, dictionary: Dictionary, num_cells: int, pipe: Connection, warm_up: int, batches_per_turn: int
    ) -> None:
        super().__init__(dictionary, is_forward_lm=True, hidden_size=num_cells, nlayers=1)
        self._pipe, self._warm_up, self._batches_per_turn = pipe, warm_up, batches_per_turn
        self._intervals: list[Interval] = []
        self._start: Optional[float] = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        now = time.perf_counter()
        if self._start is not None:
            self._intervals.append(Interval(self._start, now))
        if self._warm_up:
            self._warm_up -= 1
            if not self._warm_up:
                self._pipe.send(None)
                self._wait()
        elif len(self._intervals) == self._batches_per_turn:
            self._pipe.send(self._intervals)
            self._wait()
        else:
            self._start = now
        return super().forward(*args, **kwargs)

    def _wait(self) -> None:
        if not self._pipe.recv():
            raise SystemExit
        self._intervals, self._start = [], time.perf_counter()


class FlairJob(NamedTuple):
    """What to train on, and the sizes of the model and of its batches."""

    text: Path
    directory: Path
    num_cells: int
    num_characters: int
    num_lanes: int
    warm_up: int
    batches_per_turn: int


def train(job: FlairJob, num_threads: int, pipe: Connection, log: Path) -> None:
    """Run flair's trainer until `pipe` tells it to stop; its output goes to `log`."""
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(num_threads)
    text = job.text.read_text("utf-8")
    dictionary = Dictionary()
    for character, _ in Counter(text).most_common():
        dictionary.add_item(character)
    # The trainer reads a directory `train`, and files for two validations, which have at least two characters per lane.
    (job.directory / "train").mkdir()
    (job.directory / "train" / "text.txt").write_text(text, encoding="utf-8")
    for name in ("valid.txt", "test.txt"):
        (job.directory / name).write_text(text[: 4 * job.num_lanes], encoding="utf-8")
    corpus = TextCorpus(job.directory, dictionary)
    model = ClockedLanguageModel(dictionary, job.num_cells, pipe, job.warm_up, job.batches_per_turn)
    trainer = LanguageModelTrainer(model, corpus)
    trainer.train(job.directory / "out", job.num_characters, mini_batch_size=job.num_lanes, num_workers=0)
