"""
Run the trainer of flair's language models in a separate process, on request, and report the time of each batch.

The model reads characters in one direction (Akbik et al. 2018, "Contextual String Embeddings for Sequence Labeling") and has the size of
flair's fast released models: 1,024 cells, windows of 250 characters, 100 lanes. A biLM needs two such models.
"""

from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from flair.data import Dictionary
from flair.models import LanguageModel
from flair.trainers.language_model_trainer import LanguageModelTrainer, TextCorpus

from .turns import redirect_output, turns

NUM_CELLS, NUM_CHARACTERS, NUM_LANES = 1024, 250, 100


class ClockedLanguageModel(LanguageModel):
    """
    A `LanguageModel` whose `forward`, which the trainer calls once per batch, answers the messages of `pipe` as `turns` does.

    So an interval is from one forward pass to the next: gradients, clip and update are part of it.
    """

    def __init__(
        self, dictionary: Dictionary, num_cells: int, pipe: Connection, warm_up: int, batches_per_turn: int
    ) -> None:
        super().__init__(dictionary, is_forward_lm=True, hidden_size=num_cells, nlayers=1)
        self._turns = turns(pipe, warm_up, batches_per_turn)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        next(self._turns)
        return super().forward(*args, **kwargs)


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
    redirect_output(log)
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
