"""Pretrain a biLM on petitions, and compare classifiers of their topics: ways of pooling, mixes of layers, fine-tuning, TF-IDF.

    python -m examples.petitions FOLDER

The page `examples/petitions/README.md` says what FOLDER must hold. The figures are added to `figures.jsonl` in the directory `--work`.
Runs whose figures are there are not repeated, and a training of the biLM in `--work` is resumed.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

from allennlp_elmo_plus import plugin  # noqa: F401 (registers the components that the configs name)
from allennlp_elmo_plus.data.text.raw.preparation import TRAIN_FILE
from examples.petitions import baselines
from examples.petitions.classifiers import CONFIGS, Variant, train_classifier, train_finetuned
from examples.petitions.text import WORDS, write_words
from examples.petitions.vectors import POOLED, POOLINGS, write_pooled, write_vectors
from examples.shared.commands import elmo_plus, error_in_one_line, train
from examples.shared.figures import Figures, add_figures_argument
from examples.shared.files import check_folder

MAX_WORDS = {"spaces": 300, "morphemes": 600}

# The name of each classifier over stored vectors, in the part that it belongs to.
VARIANTS = {
    "layers": {
        f"{mix}, {pooling}": Variant(pooling, mix)
        for pooling in POOLINGS
        for mix in ("layer_0", "layer_1", "layer_2", "average", "weights", "gamma")
    },
    "attention": {mix: Variant("attention", mix) for mix in ("gamma", "weights")},
    "convolution": {mix: Variant("convolution", mix) for mix in ("gamma", "weights")},
    "rnn": {
        **{f"{mix}, input": Variant("word_maximum", mix, "input") for mix in ("gamma", "weights")},
        "gamma, input and output": Variant("word_maximum", "gamma", "input_and_output"),
        "gamma, last state": Variant("last_state", "gamma"),
    },
}
PARTS = ("baselines", "fasttext", *VARIANTS, "finetuned")

Run = tuple[dict[str, Any], Callable[[], Mapping[str, float]]]


def measure(
    folder: Path,
    work: Path,
    words: str,
    parts: Sequence[str],
    seeds: Sequence[int],
    figures: Figures,
    bilm_overrides: Optional[dict[str, Any]] = None,
    overrides: Optional[dict[str, Any]] = None,
) -> None:
    """Add the figures of each of `parts` and `seeds` to `figures`, and print them. Overrides change the configs, for tests."""
    directory = work / words
    prepare(folder, directory, words)
    bilm = partial(pretrain, directory, bilm_overrides or {})
    _print(figures.once({"words": words, "part": "bilm"}, bilm))
    minutes = write_vectors(directory, MAX_WORDS[words])
    _print(figures.once({"words": words, "part": "vectors"}, lambda: {"minutes": minutes}))
    for pooling in POOLED:
        write_pooled(directory, pooling)
    for part in parts:
        for key, run in runs(directory, words, part, seeds, overrides or {}):
            _print(figures.once({"words": words, "part": part, **key}, run))


def prepare(folder: Path, directory: Path, words: str) -> None:
    """Write the words of the petitions in `folder`, and the text to pretrain on, to `directory`, unless they are there."""
    # The file that is written last.
    if not (directory / "text" / TRAIN_FILE).exists():
        write_words(folder, words, directory)
        how = ["--language", "xx"] if words == "spaces" else ["--tokenized"]
        elmo_plus("prepare", directory / "raw.jsonl", directory / "text", "--field", "text", "--overwrite", *how)


def pretrain(directory: Path, overrides: dict[str, Any]) -> dict[str, float]:
    """Pretrain the biLM in `directory / "bilm"`; return its perplexities on held-out text, and the processor time in minutes."""
    text = directory / "text"
    data = {"train_data_path": str(text / "train.txt"), "validation_data_path": str(text / "heldout.txt")}
    minutes = train(CONFIGS / "bilm.jsonnet", directory / "bilm", {**data, **overrides})
    metrics = json.loads((directory / "bilm" / "metrics.json").read_text("utf-8"))
    names = ("perplexity", "forward_perplexity", "backward_perplexity")
    return {**{name: metrics[f"best_validation_{name}"] for name in names}, "minutes": minutes}


def runs(directory: Path, words: str, part: str, seeds: Sequence[int], overrides: dict[str, Any]) -> Iterator[Run]:
    """Yield the runs of `part`: the fields of their figures, and a function that measures them."""
    if part == "baselines":
        for regression in baselines.REGRESSIONS:
            for blocks in (
                ["TF-IDF"],
                *([pooling] for pooling in POOLED),
                *(["TF-IDF", pooling] for pooling in POOLED),
            ):
                key = {"name": " and ".join(blocks), "regression": regression}
                yield key, partial(baselines.classify_regression, directory, words, regression, blocks)
    if part == "fasttext":
        for seed in seeds:
            yield {"name": "fastText", "seed": seed}, partial(baselines.classify_fasttext, directory, seed)
    for name, variant in VARIANTS.get(part, {}).items():
        for seed in seeds:
            yield {"name": name, "seed": seed}, partial(train_classifier, directory, variant, seed, overrides)
    if part == "finetuned":
        for frozen in (True, False):
            for seed in seeds:
                key = {"name": "frozen" if frozen else "trained", "seed": seed}
                yield key, partial(train_finetuned, directory, "attention", frozen, seed, overrides)


def _print(line: dict[str, Any]) -> None:
    print("  ".join(f"{name} {value:.2f}" if isinstance(value, float) else str(value) for name, value in line.items()))


def main() -> None:
    """Read the command line, measure, and print an error as one line."""
    parser = argparse.ArgumentParser(prog="python -m examples.petitions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="files *.jsonl of petitions, the last one to test on")
    parser.add_argument("--words", choices=WORDS, default="spaces", help="morphemes need the library kiwipiepy")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="fasttext needs the library fasttext")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--work", type=Path, default=Path("runs/petitions"), help="for texts, models and vectors")
    add_figures_argument(parser)
    arguments = parser.parse_args()
    figures = Figures(arguments.figures or arguments.work / "figures.jsonl")
    with error_in_one_line():
        check_folder(arguments.folder, arguments.work)
        measure(arguments.folder, arguments.work, arguments.words, arguments.parts, arguments.seeds, figures)


if __name__ == "__main__":
    main()
