"""
Pretraining as a user does it, through `allennlp train`, against AllenNLP's own parts under the same trainer (`allennlp_parts.py`).

LSTM 512/128, 512 filters, 1 highway layer, 1,024 negatives of 9,494 words, batches of 32 lanes x 20 words. Each turn is a fresh
process, and its time is the mean between the ends of two batches, from the `WARM_UP`th on, so that what it takes to start is
nobody's job. Everything between two batches counts: data, loss, gradients, clip, optimizer, metrics, progress bar.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from allennlp_elmo_plus.core.vocabulary import SPECIAL_WORDS, write_vocabulary

from .comparison import compare
from .model_sizes import Options, bilm_options, tiny
from .report import Report
from .rounds import Contender, Turn
from .sample_text import write_text
from .settings import THREADS_VARIABLE, Settings

NUM_LANES, NUM_STEPS = 32, 20
WARM_UP = 5
_ROOT = Path(__file__).resolve().parents[1]


def run(settings: Settings) -> Report:
    title = "pretraining through `allennlp train`"
    reason = settings.why_without_allennlp()
    if reason is not None:
        return Report("pretraining", title, [], notes=[reason])
    options = settings.size(_options(), tiny())
    vocab_size, num_lanes = settings.size((9_494, NUM_LANES), (150, 4))
    ours, theirs = settings.size((100, 25), (12, 12))
    text = settings.text
    if text is None:
        text = settings.scratch / "text.txt"
        write_text(text, (ours + 5) * num_lanes * NUM_STEPS * 2)
    vocabulary = settings.scratch / "vocabulary.txt"
    write_vocabulary(vocabulary, _commonest_words(text, vocab_size))

    def contender(name: str, config: Callable[..., dict[str, Any]], num_batches: int) -> Contender:
        some_text = _beginning(text, settings.scratch / f"{num_batches}.txt", num_batches * num_lanes * NUM_STEPS)
        filled = config(options, num_lanes, some_text, vocabulary, vocab_size)
        return Contender(name, lambda: _train(filled, settings), num_lanes * NUM_STEPS, times_itself=True)

    contenders = [
        contender("ours", our_config, ours),
        contender("AllenNLP's parts", their_config, theirs),
    ]
    label = (
        f"{options['lstm']['dim']}/{options['lstm']['projection_dim']}, batch {num_lanes} x {NUM_STEPS}, {text.name}"
    )
    return Report("pretraining", title, [compare(label, contenders, settings)])


def _options() -> Options:
    filters = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]]
    return bilm_options(512, 128, filters, n_highway=1, n_negatives=1024, dropout=0.1)


def our_config(options: Options, num_lanes: int, text: Path, vocabulary: Path, vocab_size: int) -> dict[str, Any]:
    """The config of this package's users, without held-out text."""
    indexers = {"characters": {"type": "bilm_characters"}, "tokens": {"type": "single_id"}}
    return {
        "dataset_reader": {"type": "bilm", "token_indexers": indexers},
        "vocabulary": {"type": "bilm", "vocab_file": str(vocabulary)},
        "train_data_path": str(text),
        "model": {"type": "bilm", **options},
        "data_loader": {
            "type": "bilm",
            "batch_size": num_lanes,
            "num_steps": NUM_STEPS,
            "n_negative_samples_batch": options["n_negative_samples_batch"],
        },
        "trainer": _trainer({"type": "bilm"}),
    }


def their_config(options: Options, num_lanes: int, text: Path, vocabulary: Path, vocab_size: int) -> dict[str, Any]:
    """The same job with nothing of this package: Adagrad and the clip by the global norm are the trainer's."""
    optimizer = {"type": "adagrad", "lr": 0.2, "initial_accumulator_value": 1.0}
    return {
        "dataset_reader": {
            "type": "allennlp_parts",
            "num_lanes": num_lanes,
            "num_steps": NUM_STEPS,
            "vocab_size": vocab_size,
        },
        "vocabulary": {"type": "empty"},
        "train_data_path": str(text),
        "model": {"type": "allennlp_parts", "options": options, "vocab_size": vocab_size},
        "data_loader": {"batch_size": num_lanes, "shuffle": False},
        "trainer": {**_trainer(optimizer), "grad_norm": 10.0},
    }


def _trainer(optimizer: dict[str, Any]) -> dict[str, Any]:
    callbacks = [{"type": "benchmark_clock", "warm_up": WARM_UP}]
    # Whoever has a GPU is measured on it elsewhere.
    return {
        "num_epochs": 1,
        "cuda_device": -1,
        "optimizer": optimizer,
        "callbacks": callbacks,
        "enable_default_callbacks": False,
    }


def _train(config: dict[str, Any], settings: Settings) -> Turn:
    """Seconds a batch."""
    path, output = settings.scratch / "config.json", settings.scratch / "run"
    path.write_text(json.dumps(config), encoding="utf-8")
    arguments = ["train", str(path), "-s", str(output), "-f", "--include-package", "allennlp_elmo_plus"]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), THREADS_VARIABLE: str(torch.get_num_threads())}
    if settings.quick:
        # Not above: AllenNLP may be missing.
        from .clock import run_in_this_process

        run_in_this_process(arguments, environment)
    else:
        command = [sys.executable, "-m", "benchmarks.clock", *arguments]
        process = subprocess.run(command, env=environment, cwd=_ROOT, capture_output=True, text=True)
        if process.returncode:
            raise RuntimeError(f"allennlp train failed:\n{process.stderr[-2000:]}")
    return Turn(**json.loads((output / "clock.json").read_text("utf-8")))


def _commonest_words(text: Path, vocab_size: int) -> list[str]:
    from collections import Counter

    counts: Counter[str] = Counter()
    with text.open(encoding="utf-8") as lines:
        for line in lines:
            counts.update(line.split())
    others = [word for word, _ in counts.most_common(vocab_size) if word not in SPECIAL_WORDS]
    return [*SPECIAL_WORDS, *others][:vocab_size]


def _beginning(text: Path, path: Path, num_tokens: int) -> Path:
    """The first lines of `text` that hold `num_tokens` tokens, ends of sentences counted."""
    found = 0
    with text.open(encoding="utf-8") as lines, path.open("w", encoding="utf-8") as beginning:
        for line in islice(lines, num_tokens):
            if not line.strip():
                continue
            beginning.write(line)
            found += len(line.split()) + 1
            if found >= num_tokens:
                break
    return path
