"""Compare how words are used in petitions of 2017 and of 2019, and in random halves of the same petitions.

    python -m examples.meaning_over_time FOLDER MODEL

The page `examples/meaning_over_time/README.md` says what FOLDER and MODEL are. The figures are added to `figures.jsonl` in the directory
`--work`. Runs whose figures are there are not repeated.
"""

import argparse
import json
from collections.abc import Mapping
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

from examples.meaning_over_time.corpora import Petition, prepare, read_petitions, split_by_hash, split_by_year
from examples.shared.commands import elmo_plus, error_in_one_line
from examples.shared.figures import Figures, add_figures_argument
from examples.shared.files import check_folder

FOLDER = Path(__file__).parent
# In both years and in each half, nearly every word occurs this often, so all comparisons are of samples of the same size.
MAX_OCCURRENCES = 50
MEASURES = ("apd", "prt", "jsd")


def measure(folder: Path, model: str, work: Path, words: Path, seeds: range, figures: Figures) -> None:
    """Add the measures of each of `words` to `figures`: for each seed between the years, and between two halves."""
    petitions = read_petitions(folder)
    for seed, corpora in product(seeds, ("years", "halves")):
        parts = split_by_year(petitions) if corpora == "years" else split_by_hash(petitions, seed)
        directory = work / (corpora if corpora == "years" else f"{corpora}{seed}")
        # Called once for all words, and only if the figures of some word are missing.
        compare = cache(partial(_compare, parts, directory, model, words, seed))
        for word in words.read_text("utf-8").split():
            key = {"corpora": corpora, "seed": seed, "word": word}
            print(figures.once(key, lambda compare=compare, word=word: compare()[word]))


def _compare(
    parts: Mapping[str, list[Petition]], directory: Path, model: str, words: Path, seed: int
) -> dict[str, Mapping[str, float]]:
    """Return the counts and the measures of each word in the two `parts`, as `elmo-plus usages` gives them."""
    corpora = [directory / name for name in parts]
    for corpus, petitions in zip(corpora, parts.values(), strict=True):
        prepare(petitions, corpus)
    output = directory / f"usages{seed}.jsonl"
    options: list[Any] = ["--max-occurrences", MAX_OCCURRENCES, "--seed", seed]
    elmo_plus("usages", model, words, *corpora, *options, "--output", output, "--page", output.with_suffix(".html"))
    records = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    names = ("found_a", "found_b", "used_a", "used_b", *MEASURES)
    return {record["word"]: {name: record[name] for name in names} for record in records}


def main() -> None:
    """Read the command line, measure, and print an error as one line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.meaning_over_time", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="files *.jsonl of petitions, of which the last is not used")
    parser.add_argument("model", help="the biLM of examples/petitions, whose words are separated by spaces")
    parser.add_argument("--words", type=Path, default=FOLDER / "words.txt", help="the words, one per line")
    parser.add_argument("--seeds", type=int, default=3, help="the number of samples, and of pairs of halves")
    parser.add_argument("--work", type=Path, default=Path("runs/meaning_over_time"), help="for texts and pages")
    add_figures_argument(parser)
    arguments = parser.parse_args()
    seeds = range(1, arguments.seeds + 1)
    figures = Figures(arguments.figures or arguments.work / "figures.jsonl")
    with error_in_one_line():
        check_folder(arguments.folder, arguments.work)
        measure(arguments.folder, arguments.model, arguments.work, arguments.words, seeds, figures)


if __name__ == "__main__":
    main()
