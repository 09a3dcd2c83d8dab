"""Measure a tagger of chunks over the vectors of a biLM and of other models, with 1%, 10% and all of the labelled sentences.

    python -m examples.chunking FOLDER --models MODEL.tar.gz ...

The page `examples/chunking/README.md` says what FOLDER must hold. The figures are added to `figures.jsonl` in the directory `--work`.
Runs whose figures are there are not repeated.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from allennlp_elmo_plus import plugin  # noqa: F401
from examples.chunking.chunks import Chunks, choose, read_chunks
from examples.chunking.tagger import Schedule, Vectors, train_and_measure
from examples.chunking.vectors import NONE, VECTORS, Inputs, embed, pretrain
from examples.shared.commands import error_in_one_line
from examples.shared.figures import Figures, add_figures_argument
from examples.shared.files import check_folder, find, names_of_models

# For each share of the training sentences. A tagger learns more slowly without pretrained vectors.
SCHEDULES = {0.01: Schedule(8, 30), 0.1: Schedule(16, 12), 1.0: Schedule(64, 4)}
SCHEDULES_WITHOUT_VECTORS = {0.01: Schedule(8, 60), 0.1: Schedule(16, 25), 1.0: Schedule(64, 12)}


class Measurement:
    """Trains taggers over vectors, and adds what they reach to a file of figures.

    Args:
        chunks: the labelled sentences.
        inputs: what the vectors are made of.
        figures: the file of the figures.
        on_dev: whether to measure on the sentences for choosing settings, not on the test sentences.
    """

    def __init__(self, chunks: Chunks, inputs: Inputs, figures: Figures, on_dev: bool = False) -> None:
        self._train = chunks.train
        self._tested = chunks.dev if on_dev else chunks.test
        self._inputs = inputs
        self._figures = figures

    def run(self, kind: str, seeds: Sequence[int], schedules: dict[float, Schedule]) -> None:
        """Measure the vectors `kind`, one of `VECTORS`, for each seed and each share of the sentences in `schedules`.

        The seed chooses the sentences and the initial weights of the tagger.
        """
        keys = [{**self._key("chunks", kind), "share": share, "seed": seed} for seed in seeds for share in schedules]
        missing = [key for key in keys if not self._figures.lines(key)]
        vectors = self._vectors(kind) if missing else None
        for key in missing:
            seed, share = key["seed"], key["share"]
            _print(self._figures.once(key, partial(self._measure, vectors, seed, share, schedules[share])))

    def _vectors(self, kind: str) -> Vectors | None:
        training = pretrain(kind, self._inputs)
        start = time.process_time()
        sentences = dict.fromkeys(tuple(sentence.words) for sentence in (*self._train, *self._tested))
        vectors = embed(kind, self._inputs, list(sentences))
        minutes = {"embedding_minutes": (time.process_time() - start) / 60}
        _print(self._figures.once(self._key("vectors", kind), lambda: {**training, **minutes}))
        return vectors

    def _key(self, task: str, kind: str) -> dict[str, str]:
        # Several biLMs may be measured, of different seeds; each has a directory of its own.
        model = {"model": self._inputs.model.resolve().parent.name} if kind == "bilm" and self._inputs.model else {}
        return {"task": task, "vectors": kind, **model}

    def _measure(self, vectors: Vectors | None, seed: int, share: float, schedule: Schedule) -> dict[str, float]:
        start = time.process_time()
        sentences = choose(self._train, share, seed)
        f1 = train_and_measure(sentences, self._tested, vectors, schedule, seed)
        return {"sentences": len(sentences), "F1": 100 * f1, "minutes": (time.process_time() - start) / 60}


def _print(line: dict[str, Any]) -> None:
    print("  ".join(f"{name} {value:.2f}" if isinstance(value, float) else str(value) for name, value in line.items()))


def _minutes_of(models: Sequence[Path | None]) -> float:
    """Return the mean time of the training of `models`, or half an hour where none is known."""
    files = [model.with_name("processor_minutes") for model in models if model is not None]
    times = [float(file.read_text("utf-8")) for file in files if file.exists()]
    return statistics.mean(times) if times else 30.0


def main() -> None:
    """Read the command line, measure, and print an error as one line."""
    parser = argparse.ArgumentParser(prog="python -m examples.chunking", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the labelled sentences and the text")
    parser.add_argument(
        "--models",
        nargs="+",
        type=Path,
        default=[None],
        metavar="MODEL",
        help="DIRECTORY/model.tar.gz of pretrained biLMs",
    )
    parser.add_argument("--vectors", nargs="+", choices=VECTORS, default=VECTORS)
    parser.add_argument("--shares", nargs="+", type=float, choices=SCHEDULES, default=SCHEDULES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument(
        "--flair-minutes",
        type=float,
        help="processor time to train flair (default: the mean of the biLMs, if it is known, or 30)",
    )
    parser.add_argument("--work", type=Path, default=Path("runs/chunking"), help="for models (default: runs/chunking)")
    add_figures_argument(parser)
    arguments = parser.parse_args()
    with error_in_one_line():
        check_folder(arguments.folder, arguments.work)
        names_of_models(list(filter(None, arguments.models)))
        text, heldout = (find(arguments.folder, name) for name in ("train.txt", "heldout.txt"))
        chunks = read_chunks(arguments.folder)
        for kind in arguments.vectors:
            schedules = SCHEDULES_WITHOUT_VECTORS if kind == NONE else SCHEDULES
            # The first gives its shape to the untrained biLM.
            for model in arguments.models if kind == "bilm" else arguments.models[:1]:
                inputs = Inputs(
                    text, heldout, model, arguments.work, arguments.flair_minutes or _minutes_of(arguments.models)
                )
                measurement = Measurement(
                    chunks, inputs, Figures(arguments.figures or arguments.work / "figures.jsonl")
                )
                measurement.run(kind, arguments.seeds, {share: schedules[share] for share in arguments.shares})


if __name__ == "__main__":
    main()
