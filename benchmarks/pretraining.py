"""
Pretraining with `allennlp train`, compared with AllenNLP's own parts under the same trainer (`workloads/allennlp_parts.py`).

The model has an LSTM of 512/128, 512 filters, 1 highway layer, and 1,024 negatives of 9,494 words; batches have 32 lanes x 20 words.
Ours also runs with `precision` "bf16", for processors that support it. Where flair is installed, the trainer of its character language
models runs too (`workloads/flair_training.py`); its speed is that of two models, one per direction. Each training runs in its own
process. The trainings take turns: one trains on some batches while the others wait. The time of a batch is that between the ends of two
batches, from batch `WARM_UP` on, so the start is not counted. Everything else is: data, loss, gradients, clip, optimizer, metrics,
progress bar. Our loader may have prefetched a few batches when its turn begins.
"""

import json
import multiprocessing
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from allennlp_elmo_plus.data.text.vocabulary import order_by_frequency, write_vocabulary
from allennlp_elmo_plus.data.text.word_counts import count_words

from .measurement.comparison import compare
from .measurement.report import Report
from .measurement.rounds import Contender, Interval
from .measurement.settings import Settings
from .workloads.model_sizes import Options, bilm_options, tiny
from .workloads.sample_text import write_text

NUM_LANES, NUM_STEPS = 32, 20
WARM_UP = 5
# The last windows, which not all lanes fill, are not measured.
_REST = 3
_SECONDS_TO_END = 10


def run(settings: Settings) -> Report:
    title = "pretraining through `allennlp train`"
    reason = settings.why_without_allennlp()
    if reason is not None:
        return Report("pretraining", title, [], notes=[reason])
    options = settings.size(wikitext_options(dropout=0.1), tiny())
    vocab_size, num_lanes = settings.size((9_494, NUM_LANES), (150, 4))
    # Each turn takes some seconds.
    ours, theirs = settings.size((50, 10), (2, 2))

    def num_batches(batches_per_turn: int) -> int:
        return WARM_UP + settings.rounds * batches_per_turn + _REST

    text = settings.text
    if text is None:
        text = settings.scratch / "text.txt"
        write_text(text, num_batches(ours) * num_lanes * NUM_STEPS * 2)
    vocabulary = settings.scratch / "vocabulary.txt"
    write_vocabulary(vocabulary, order_by_frequency(count_words(text), max_size=vocab_size))

    def training(name: str, config: Callable[..., dict[str, Any]], batches_per_turn: int) -> "_Training":
        directory = settings.scratch / name
        directory.mkdir()
        num_tokens = num_batches(batches_per_turn) * num_lanes * NUM_STEPS
        some_text = _beginning(text, directory / "text.txt", num_tokens)
        filled = config(options, num_lanes, some_text, vocabulary, vocab_size)
        filled["trainer"]["callbacks"] = [
            {"type": "benchmark_clock", "warm_up": WARM_UP, "batches_per_turn": batches_per_turn}
        ]
        # Imported here, because AllenNLP may be missing.
        from .workloads.clock import train

        path = directory / "config.json"
        path.write_text(json.dumps(filled), encoding="utf-8")
        arguments = ["train", str(path), "-s", str(directory / "out"), "--include-package", "allennlp_elmo_plus"]
        return _Training(train, arguments, directory, settings)

    label = (
        f"{options['lstm']['dim']}/{options['lstm']['projection_dim']}, batch {num_lanes} x {NUM_STEPS}, {text.name}"
    )
    trainings = [
        ("ours", our_config, ours),
        ("ours, bf16", _our_bf16_config, ours),
        ("AllenNLP's parts", their_config, theirs),
    ]
    with ExitStack() as stack:
        contenders = [
            Contender(
                name,
                stack.enter_context(training(name, config, batches_per_turn)).turn,
                num_lanes * NUM_STEPS,
                times_itself=True,
            )
            for name, config, batches_per_turn in trainings
        ]
        notes = []
        if find_spec("flair") is None:
            notes.append("flair's contender is left out: flair is not installed")
        else:
            flair, num_tokens = _flair_training(text, settings)
            contenders.append(
                Contender("flair, both directions", stack.enter_context(flair).turn, num_tokens, times_itself=True)
            )
        return Report("pretraining", title, [compare(label, contenders, settings)], notes=notes)


def _flair_training(text: Path, settings: Settings) -> tuple["_Training", float]:
    """Return a training of one of flair's models on `text`, and the tokens of a batch, halved, since a biLM has two directions."""
    from .workloads.flair_training import NUM_CELLS, NUM_CHARACTERS, FlairJob, train
    from .workloads.flair_training import NUM_LANES as NUM_FLAIR_LANES

    directory = settings.scratch / "flair"
    directory.mkdir()
    sizes = settings.size((NUM_CELLS, NUM_CHARACTERS, NUM_FLAIR_LANES), (16, 5, 4))
    job = FlairJob(text, directory, *sizes, warm_up=2, batches_per_turn=2)
    content = text.read_text("utf-8")
    # An end of a sentence counts as a token, as in the other trainings.
    num_tokens = len(content.split()) + content.count("\n")
    _, num_characters, num_lanes = sizes
    return _Training(train, job, directory, settings), num_characters * num_lanes * num_tokens / len(content) / 2


def wikitext_options(dropout: float) -> Options:
    """Return the options of `wikitext2.jsonnet`."""
    filters = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]]
    return bilm_options(512, 128, filters, n_highway=1, n_negatives=1024, dropout=dropout)


def our_config(options: Options, num_lanes: int, text: Path, vocabulary: Path, vocab_size: int) -> dict[str, Any]:
    """Return a config as users of this package write it, without held-out text."""
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


def _our_bf16_config(*arguments: Any) -> dict[str, Any]:
    config = our_config(*arguments)
    config["model"]["precision"] = "bf16"
    return config


def their_config(options: Options, num_lanes: int, text: Path, vocabulary: Path, vocab_size: int) -> dict[str, Any]:
    """Return the config of the same job without this package: AllenNLP's Adagrad and the trainer's global-norm clip."""
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
    # On the CPU, also on a machine with a GPU.
    return {
        "num_epochs": 1,
        "cuda_device": -1,
        "optimizer": optimizer,
        "enable_default_callbacks": False,
    }


class _Training:
    """A training in a separate process, which trains for a turn and waits for the next turn.

    The process calls `train(job, number of threads, pipe, path of its log)`.
    """

    def __init__(self, train: Callable[..., None], job: Any, directory: Path, settings: Settings) -> None:
        self._log = directory / "log"
        # With fork a quick run does not import everything again.
        context: Any = multiprocessing.get_context("fork" if settings.quick else "spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(
            target=train, args=(job, torch.get_num_threads(), child_pipe, self._log), daemon=True
        )
        self._process.start()
        child_pipe.close()

    def turn(self) -> list[Interval]:
        """Train for a turn and return the intervals of its batches."""
        self._pipe.send(True)
        return self._answer()

    def _answer(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            log = self._log.read_text("utf-8", "replace")
            raise RuntimeError(f"the training failed:\n{log[-2000:]}") from None

    def __enter__(self) -> "_Training":
        """Wait until the training has warmed up and waits for its first turn."""
        try:
            self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        with suppress(OSError):
            self._pipe.send(False)
        # The process may still compute if another training has failed; then it is killed.
        self._process.join(_SECONDS_TO_END)
        self._process.kill()
        self._process.join()


def _beginning(text: Path, path: Path, num_tokens: int) -> Path:
    """Copy to `path` the first lines of `text` with `num_tokens` tokens, counting ends of sentences; return `path`."""
    copied_tokens = 0
    with text.open(encoding="utf-8") as lines, path.open("w", encoding="utf-8") as beginning:
        for line in islice(lines, num_tokens):
            if not line.strip():
                continue
            beginning.write(line)
            copied_tokens += len(line.split()) + 1
            if copied_tokens >= num_tokens:
                break
    return path
