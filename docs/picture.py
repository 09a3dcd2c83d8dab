"""
Draw docs/picture.png: the perplexities of a run of `make train`, and neighbours that `elmo-plus neighbors` found with its biLM.

    elmo-plus neighbors runs/bilm data/heldout.txt --output neighbors.json \
        --query WORD 'SENTENCE WITH THE WORD' --query WORD 'ANOTHER SENTENCE WITH THE WORD'
    python docs/picture.py runs/bilm neighbors.json docs/picture.png
"""

import io
import json
import math
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

from allennlp_elmo_plus.report.run import read_run

TRAINING, HELDOUT, GREY = "#1f6fb4", "#d1662b", "#666666"
LOSS = "train/batch_loss"


def draw_perplexity(axes: Axes, directory: Path) -> None:
    """Draw the sampled perplexity of training, and the exact perplexity of the held-out text after each epoch."""
    run = read_run(directory)
    steps, losses = zip(*run.training[LOSS])
    steps_of_epoch = steps[-1] / len(run.epochs)
    ends = [steps_of_epoch * (metrics["epoch"] + 1) for metrics in run.epochs]
    exact = [metrics["validation_perplexity"] for metrics in run.epochs]
    axes.plot(steps, [math.exp(loss) for loss in losses], color=TRAINING, label="training, sampled")
    axes.plot(ends, exact, "o", color=HELDOUT, label="held-out text, exact")
    for step, value in zip(ends, exact):
        axes.annotate(f"{value:.0f}", (step, value), (-6, 6), textcoords="offset points", ha="right", color=HELDOUT)
    axes.set(yscale="log", xlabel="steps", ylabel="perplexity", title="Perplexity")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def draw_neighbors(axes: Axes, path: Path, num_neighbors: int = 4) -> None:
    """Write each query and its nearest neighbours in context; the words that are compared are bold."""
    axes.set_axis_off()
    axes.set_title("Nearest neighbours in context", loc="left")
    y = 0.95
    for query in json.loads(path.read_text("utf-8")):
        rows = [(None, query), *((token["similarity"], token) for token in query["contextual"][:num_neighbors])]
        for similarity, token in rows:
            words, position = token["sentence"], token["position"]
            first = max(0, position - 7)
            text = " ".join(
                rf"$\bf{{{word}}}$" if number == position else word.replace("$", r"\$")
                for number, word in enumerate(words[first : first + 10], start=first)
            )
            axes.text(0.0, y, "" if similarity is None else f"{similarity:.3f}", color=GREY)
            axes.text(0.0 if similarity is None else 0.12, y, text, color=TRAINING if similarity is None else "black")
            y -= 0.09
        y -= 0.06


if __name__ == "__main__":
    run_directory, neighbors, output = map(Path, sys.argv[1:])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), width_ratios=(1, 1), layout="constrained")
    draw_perplexity(left, run_directory)
    draw_neighbors(right, neighbors)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=100)
    # Few colours make a small file.
    Image.open(picture).quantize(32).save(output, optimize=True)
