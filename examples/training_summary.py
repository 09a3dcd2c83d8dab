"""
`python -m examples.training_summary RUN_DIR`: what a finished `make train` left, in a few lines.

Reads RUN_DIR/metrics.json, which `allennlp train` writes, and RUN_DIR/heldout_metrics.json from `allennlp evaluate --output-file`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from allennlp_elmo_plus.errors import InputError, count_in_words


def read_metrics(path: Path) -> dict[str, Any]:
    """The metrics in one JSON file; `InputError` when there is none."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"no training summary: `{path}` does not exist") from None
    except json.JSONDecodeError as error:
        raise InputError(f"no training summary: `{path}` is not JSON (line {error.lineno})") from None


def summary(run: Path) -> str:
    """Held-out perplexities (exact, full softmax), time, speed, files, and the next command."""
    heldout, training = read_metrics(run / "heldout_metrics.json"), read_metrics(run / "metrics.json")
    lines: list[str] = ["Held-out perplexity"]
    for label, key in (("both", "perplexity"), ("forward", "forward_perplexity"), ("backward", "backward_perplexity")):
        if key in heldout:
            lines.append(f"  {label:<9}{heldout[key]:.2f}")
    # A run that was taken up again with nothing left to do has trained for no epoch, and reports none.
    if "epoch" in training:
        lines.append(f"Training   {count_in_words(training['epoch'] + 1, 'epoch')} in {training['training_duration']}")
        lines.append(f"Speed      {training['training_tokens_per_second']:,.0f} tokens/s in the last epoch")
    allennlp = os.path.relpath(Path(sys.executable).parent / "allennlp")
    lines += [
        f"Model      {run / 'model.tar.gz'}",
        f"For Elmo   {run / 'elmo'}: options.json, weights.hdf5, vocab.txt",
        "Next       try it on a sentence:",
        f"           echo 'Return the number of items .' | {allennlp} predict {run / 'model.tar.gz'} -",
    ]
    return "\n".join(lines)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m examples.training_summary RUN_DIR")
    try:
        print(summary(Path(sys.argv[1])))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
