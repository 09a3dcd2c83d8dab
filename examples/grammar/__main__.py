"""Test biLMs on the minimal pairs of Zorro, and compare them with a 5-gram model of the same text.

    python -m examples.grammar FOLDER MODEL... --text TRAIN

The page `examples/grammar/README.md` says what FOLDER must hold. The figures are added to `figures.jsonl` in the directory `--work`. What
is there already is not measured again.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from allennlp_elmo_plus.data.text.characters import EOS_WORD
from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.data.text.vocabulary import look_up_words
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.inference.scoring.minimal_pairs import BACKWARD, BOTH, FORWARD, PairLogProbs
from examples.grammar.kneser_ney import KneserNey
from examples.shared.commands import elmo_plus, error_in_one_line
from examples.shared.figures import Figures, add_figures_argument
from examples.shared.files import check_folder, names_of_models, read_json_lines

# The order with the lowest perplexity on the held-out text: 190.6 with 3, 183.3 with 4, 182.0 with 5.
ORDER = 5
N_GRAM = f"{ORDER}-gram"
BILM = "biLM"
KNOWN, ALL = "known", "all"

# A line of `elmo-plus pairs --output-file`.
Judgement = Mapping[str, Any]


def measure(folder: Path, models: Sequence[Path], text: Path, work: Path, figures: Figures) -> None:
    """Add the figures of each of `models`, and of an n-gram model of `text`, to `figures`.

    Args:
        folder: the pairs, a file for each phenomenon.
        models: biLMs of the same vocabulary, each in a directory of its own, whose name is the name of the model.
        text: the text that the biLMs were trained on.
        work: for the scores of each pair.
        figures: the file to add to.
    """
    files = sorted(folder.glob("*.txt*"))
    names = names_of_models(models)
    for model, name in zip(models, names, strict=True):
        key = {"scorer": BILM, "seed": name}
        times = _score_with_bilm(model, files, work / name)
        figures.once({**key, "figure": "time"}, partial(dict, times))
        _add(figures, key, _judgements(work / name))
    first = work / names[0]
    # The figure that is added last.
    if not figures.lines({"scorer": N_GRAM, "figure": "time"}):
        start = time.process_time()
        judgements = _judge_with_n_grams(_judgements(first), models[0], text)
        minutes = (time.process_time() - start) / 60
        _add(figures, {"scorer": N_GRAM, "seed": ""}, judgements)
        figures.once({"scorer": N_GRAM, "seed": "", "figure": "time"}, lambda: {"processor_minutes": minutes})


def _score_with_bilm(model: Path, files: Sequence[Path], work: Path) -> dict[str, float]:
    work.mkdir(parents=True, exist_ok=True)
    finished = work / "processor_minutes"
    if not finished.exists():
        minutes = elmo_plus("pairs", model, *files, "--output-file", work / "scores.jsonl")
        finished.write_text(f"{minutes}\n", encoding="utf-8")
    return {"processor_minutes": float(finished.read_text("utf-8"))}


def _judgements(work: Path) -> list[Judgement]:
    return read_json_lines(work / "scores.jsonl")


def _judge_with_n_grams(pairs: Sequence[Judgement], model: Path, text: Path) -> list[Judgement]:
    """Return the judgements of an n-gram model of `text`, with the vocabulary of `model`, on the sentences of `pairs`."""
    vocabulary = read_model(ModelSource(model)).vocabulary or []
    ids = {word: number for number, word in enumerate(vocabulary)}

    def numbers(words: Sequence[str]) -> list[int]:
        return look_up_words([*words, EOS_WORD], ids)

    n_grams = KneserNey(list(map(numbers, iter_sentences(text))), len(ids), ORDER)
    acceptable, unacceptable = (
        n_grams.log_probs([numbers(pair[key].split()) for pair in pairs]) for key in ("acceptable", "unacceptable")
    )
    scores = map(PairLogProbs, acceptable.tolist(), unacceptable.tolist())
    return [
        {**pair, FORWARD: {"correct": score.correct}, BACKWARD: None, BOTH: None}
        for pair, score in zip(pairs, scores, strict=True)
    ]


def _add(figures: Figures, key: Mapping[str, str], judgements: Sequence[Judgement]) -> None:
    """Add the accuracy on each phenomenon and on all pairs: of pairs whose words are all in the vocabulary, and of all pairs."""
    phenomena = list(dict.fromkeys(judgement["phenomenon"] for judgement in judgements))
    for phenomenon in (*phenomena, ALL):
        of_phenomenon = [line for line in judgements if phenomenon in (line["phenomenon"], ALL)]
        for words, is_in in ((KNOWN, lambda line: not line["unknown_words"]), (ALL, lambda line: True)):
            lines = list(filter(is_in, of_phenomenon))
            name = phenomenon.removeprefix("zorro_")
            if lines:
                print(figures.once({**key, "phenomenon": name, "words": words}, partial(_accuracy, lines)))


def _accuracy(lines: Sequence[Judgement]) -> dict[str, float]:
    scores = [score for score in (FORWARD, BACKWARD, BOTH) if lines[0].get(score)]
    return {
        "pairs": len(lines),
        **{score: round(sum(line[score]["correct"] for line in lines) / len(lines), 5) for score in scores},
    }


def main() -> None:
    """Read the command line, measure, and print an error as one line."""
    parser = argparse.ArgumentParser(prog="python -m examples.grammar", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the pairs of Zorro, a file for each phenomenon")
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="the model.tar.gz of a biLM")
    parser.add_argument("--text", type=Path, required=True, help="the text that the biLMs were trained on")
    parser.add_argument("--work", type=Path, default=Path("runs/grammar"), help="for the scores of each pair")
    add_figures_argument(parser)
    arguments = parser.parse_args()
    figures = Figures(arguments.figures or arguments.work / "figures.jsonl")
    with error_in_one_line():
        check_folder(arguments.folder, arguments.work)
        measure(arguments.folder, arguments.models, arguments.text, arguments.work, figures)


if __name__ == "__main__":
    main()
