"""
`python -m examples.training_summary RUN_DIR`: print the results of a finished `make train`.

The results are in RUN_DIR/metrics.json, which `elmo-plus train` writes, and in RUN_DIR/heldout_metrics.json, which
`elmo-plus evaluate --output-file` writes.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from allennlp_elmo_plus.errors import InputError, count_in_words


def read_metrics(path: Path) -> dict[str, Any]:
    """Return the metrics in the JSON file `path`, or raise InputError if it is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"no training summary: `{path}` does not exist") from None
    except json.JSONDecodeError as error:
        raise InputError(f"no training summary: `{path}` is not JSON (line {error.lineno})") from None


def summary(run: Path) -> str:
    """Return lines with the exact held-out perplexities, time, speed, files, and the next command."""
    heldout, training = read_metrics(run / "heldout_metrics.json"), read_metrics(run / "metrics.json")
    lines: list[str] = ["Held-out perplexity"]
    for label, key in (("both", "perplexity"), ("forward", "forward_perplexity"), ("backward", "backward_perplexity")):
        if key in heldout:
            lines.append(f"  {label:<9}{heldout[key]:.2f}")
    # A finished run that was recovered has trained no epoch, so its metrics have none.
    if "epoch" in training:
        lines.append(f"Training   {count_in_words(training['epoch'] + 1, 'epoch')} in {training['training_duration']}")
        lines.append(f"Speed      {training['training_tokens_per_second']:,.0f} tokens/s in the last epoch")
    program = os.path.relpath(Path(sys.executable).parent / "elmo-plus")
    lines += [
        f"Model      {run / 'model.tar.gz'}",
        f"For Elmo   {run / 'elmo'}: options.json, weights.hdf5, vocab.txt",
        "Next       try it on a sentence:",
        f"           echo 'Return the number of items .' | {program} predict {run / 'model.tar.gz'} -",
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
