"""Pretrain the English biLM of bilm.jsonnet, once for each seed:  python -m examples.english FOLDER

FOLDER has the files train.txt and heldout.txt, plain or `.gz`. The models are runs/english/seedN/model.tar.gz. An interrupted training is
resumed. The figures are added to `figures.jsonl` in the directory `--work`.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

from examples.shared.commands import error_in_one_line, train
from examples.shared.figures import Figures, add_figures_argument
from examples.shared.files import check_folder, find

FOLDER = Path(__file__).parent


def pretrain(
    folder: Path, work: Path, seeds: Sequence[int], figures: Figures, overrides: Optional[dict[str, Any]] = None
) -> None:
    """Pretrain a biLM for each of `seeds` into the directory `work`/seedN, and add the figures to `figures`.

    Args:
        folder: the text.
        work: the directory of the models.
        seeds: of the initial weights, and of all other random numbers.
        figures: the file of the figures.
        overrides: values of the config in place of those in bilm.jsonnet, for tests.
    """
    data = {
        "train_data_path": str(find(folder, "train.txt")),
        "validation_data_path": str(find(folder, "heldout.txt")),
    }
    for seed in seeds:
        numbers = {name: seed for name in ("random_seed", "numpy_seed", "pytorch_seed")}
        minutes = train(FOLDER / "bilm.jsonnet", work / f"seed{seed}", {**data, **numbers, **(overrides or {})})
        metrics = json.loads((work / f"seed{seed}" / "metrics.json").read_text("utf-8"))
        names = ("perplexity", "forward_perplexity", "backward_perplexity")
        line = {**{name: metrics[f"best_validation_{name}"] for name in names}, "minutes": minutes}
        print(figures.once({"seed": seed}, partial(dict, line)))


def main() -> None:
    """Read the command line, pretrain, and print an error as one line."""
    parser = argparse.ArgumentParser(prog="python -m examples.english", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the text")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--work", type=Path, default=Path("runs/english"), help="for models (default: runs/english)")
    add_figures_argument(parser)
    arguments = parser.parse_args()
    with error_in_one_line():
        check_folder(arguments.folder, arguments.work)
        pretrain(
            arguments.folder,
            arguments.work,
            arguments.seeds,
            Figures(arguments.figures or arguments.work / "figures.jsonl"),
        )


if __name__ == "__main__":
    main()
