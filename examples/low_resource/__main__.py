"""Pretrain a biLM on the text of a language, and measure what it and other word vectors give to the tasks that the language has.

    python -m examples.low_resource FOLDER

The page `examples/low_resource/README.md` says what FOLDER must hold. The figures are added to `figures.jsonl` in the directory `--work`.
Runs whose figures are there are not repeated, and the trainings in `--work` are resumed.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

from allennlp_elmo_plus import plugin  # noqa: F401
from examples.low_resource.language import read_language
from examples.low_resource.tasks import TASKS, run_task
from examples.low_resource.vectors import VECTORS, make_vectors
from examples.shared.commands import error_in_one_line
from examples.shared.figures import Figures, add_figures_argument
from examples.shared.files import check_folder

DEFAULT_TASKS = ("pos", "names", "parser_small")
DEFAULT_VECTORS = ("bilm", "untrained", "fasttext", "word2vec", "bilm+fasttext")


def measure(
    folder: Path,
    work: Path,
    tasks: Sequence[str],
    vectors: Sequence[str],
    seeds: Sequence[int],
    figures: Figures,
    bilm_overrides: Optional[dict[str, Any]] = None,
    task_overrides: Optional[dict[str, Any]] = None,
) -> None:
    """Add the figures of each task, kind of vectors and seed to `figures`, and print them. Overrides change the configs, for tests."""
    language = read_language(folder, work)
    available = [task for task in tasks if getattr(language, TASKS[task].data)]
    for task in set(tasks) - set(available):
        print(f"{language.name}: no data for the task {task}")
    for kind in vectors:
        embedding, training = make_vectors(kind, language, work, bilm_overrides or {})
        if training:
            key = {"language": language.name, "vectors": kind, "task": "pretraining"}
            _print(figures.once(key, partial(dict, training)))
        for task in available:
            for seed in seeds:
                key = {"language": language.name, "vectors": kind, "task": task, "seed": seed}
                _print(figures.once(key, partial(run_task, task, language, embedding, seed, task_overrides or {})))


def _print(line: dict[str, Any]) -> None:
    print("  ".join(value if isinstance(value, str) else f"{name} {round(value, 2)}" for name, value in line.items()))


def main() -> None:
    """Read the command line, measure, and print an error as one line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.low_resource", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="the files of one language")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=DEFAULT_TASKS)
    parser.add_argument("--vectors", nargs="+", choices=VECTORS, default=DEFAULT_VECTORS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--work", type=Path, help="for models and data; by default runs/low_resource/NAME")
    add_figures_argument(parser)
    arguments = parser.parse_args()
    work = arguments.work or Path("runs/low_resource") / arguments.folder.resolve().name
    figures = Figures(arguments.figures or work / "figures.jsonl")
    with error_in_one_line():
        check_folder(arguments.folder, work)
        measure(arguments.folder, work, arguments.tasks, arguments.vectors, arguments.seeds, figures)


if __name__ == "__main__":
    main()
