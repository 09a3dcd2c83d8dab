"""Rank the substitutes of SemEval-2007 task 10 with frozen biLMs, and with word2vec vectors of the same text.

    python -m examples.word_choice FOLDER MODEL... --text TEXT

The page `examples/word_choice/README.md` says what FOLDER, MODEL and TEXT are. The figures are added to `figures.jsonl` in the directory
`--work`. Runs whose figures are there are not repeated.
"""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from allennlp_elmo_plus.data.text.text_files import iter_sentences
from examples.shared.commands import error_in_one_line
from examples.shared.figures import Figures, add_figures_argument
from examples.shared.files import check_folder, names_of_models
from examples.word_choice.bilm import CandidateModel
from examples.word_choice.data import Item, read_items
from examples.word_choice.gap import score_ranking
from examples.word_choice.rankings import CHOSEN, SCORERS, candidates_of
from examples.word_choice.word_vectors import WAYS, WordVectors

FOLDER = Path(__file__).parent
SEEDS = (1, 2, 3)

# The scores of the candidates of each item.
Scores = Sequence[np.ndarray]


def measure(folder: Path, models: Sequence[str], text: Path, figures: Figures) -> None:
    """Add the figures of each way to rank to `figures`, and print them."""
    items = read_items(folder)
    log_priors = cache(partial(_log_priors, items, text))
    _print(figures.once({"vectors": "none", "way": "frequency"}, lambda: _figures(items, log_priors())))
    for seed in SEEDS:
        _print(figures.once({"vectors": "none", "seed": seed, "way": "random"}, partial(_shuffle, items, seed)))
    for model in models:
        _measure_bilm(items, model, log_priors, figures)
    for seed in SEEDS:
        _measure_word2vec(items, text, seed, figures)


def _shuffle(items: Sequence[Item], seed: int) -> dict[str, float]:
    random = np.random.default_rng(seed)
    return _figures(items, [random.random(len(item.candidates)) for item in items])


def _measure_word2vec(items: Sequence[Item], text: Path, seed: int, figures: Figures) -> None:
    # Trained once for all ways, and only if the figures of some way are missing.
    vectors = cache(partial(WordVectors, text, seed))
    for way in WAYS:
        key = {"vectors": "word2vec", "seed": seed, "way": way}
        _print(figures.once(key, lambda way=way: _figures(items, [vectors().scores(item, way) for item in items])))


def _measure_bilm(items: Sequence[Item], model: str, log_priors: Callable[[], Scores], figures: Figures) -> None:
    evidence = cache(lambda: CandidateModel(model).evidence(items))
    for way in (*SCORERS, *CHOSEN):
        key = {"vectors": "biLM", "model": Path(model).resolve().parent.name, "way": way}
        _print(figures.once(key, lambda way=way: _choose(items, way, evidence(), log_priors())))


def _choose(items: Sequence[Item], way: str, evidence: Sequence[Any], log_priors: Scores) -> dict[str, Any]:
    """Return the figures of `way`, with the numbers that are the best on the trial items."""
    trial = [number for number, item in enumerate(items) if not item.is_test]
    best: tuple[float, dict[str, Any], Callable[..., np.ndarray]] | None = None
    for numbers, scorer in candidates_of(way):
        score = float(np.mean([_gap(items[n], scorer(evidence[n], log_priors[n])) for n in trial]))
        if best is None or score > best[0]:
            best = score, numbers, scorer
    assert best is not None
    _, numbers, scorer = best
    return {**numbers, **_figures(items, list(map(scorer, evidence, log_priors)))}


def _figures(items: Sequence[Item], scores: Scores) -> dict[str, float]:
    """Return the mean score, in percent, over the trial items, the test items, and the test items of each part of speech."""
    groups: dict[str, list[float]] = {}
    for item, of_item in zip(items, scores, strict=True):
        names = ["test", f"test_{item.part_of_speech}"] if item.is_test else ["trial"]
        for name in names:
            groups.setdefault(name, []).append(100 * _gap(item, of_item))
    return {name: round(float(np.mean(values)), 3) for name, values in sorted(groups.items())}


def _gap(item: Item, scores: np.ndarray) -> float:
    return score_ranking(scores, item.weights)


def _log_priors(items: Sequence[Item], text: Path) -> Scores:
    """Return the log-probability of each candidate in the lower-cased `text`, where each word is counted once more than it occurs."""
    counts = Counter(word.lower() for sentence in iter_sentences(text) for word in sentence)
    total = counts.total() + len(counts)
    return [np.array([math.log((counts[word] + 1) / total) for word in item.candidates]) for item in items]


def _print(line: dict[str, Any]) -> None:
    print("  ".join(f"{name} {value}" for name, value in line.items()), flush=True)


def main() -> None:
    """Read the command line, measure, and print an error as one line."""
    parser = argparse.ArgumentParser(prog="python -m examples.word_choice", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the files lst_*.gz and lst.gold.candidates.gz of the task")
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="DIRECTORY/model.tar.gz, one for each seed of the pretraining"
    )
    parser.add_argument(
        "--text", type=Path, required=True, help="the text of the pretraining, for word2vec and frequencies"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/word_choice"), help="for figures")
    add_figures_argument(parser)
    arguments = parser.parse_args()
    with error_in_one_line():
        check_folder(arguments.folder, arguments.work)
        names_of_models(arguments.models)
        measure(
            arguments.folder,
            arguments.models,
            arguments.text,
            Figures(arguments.figures or arguments.work / "figures.jsonl"),
        )


if __name__ == "__main__":
    main()
