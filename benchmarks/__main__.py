"""
Run benchmarks: python -m benchmarks [NAME ...]

Each benchmark prints a table and writes NAME.json and NAME.png. benchmarks/README.md explains the figures.
"""

import argparse
import importlib
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Optional

from allennlp_elmo_plus.training.malloc import keep_freed_memory

from .measurement.settings import Settings
from .measurement.steal_time import StealTimeWatch

BENCHMARKS = {
    "lstm_stack": "the biLM's LSTM stacks against AllenNLP's ElmoLstm and torch's nn.LSTM",
    "feeding": "words per second that one core feeds to training, against AllenNLP's streaming",
    "vocabulary": "counting a vocabulary over 100 million tokens: time and peak memory",
    "embedding": "embedding text with a frozen biLM, cache empty and filled, against ElmoTokenEmbedder",
    "held_out": "the exact softmax over 793,471 words: time against the matrix product alone, peak memory",
    "pretraining": "pretraining through `allennlp train`, against AllenNLP's parts under the same trainer",
    "quality": "training time until a held-out perplexity, against AllenNLP's parts; needs --text",
    "original_size": "a training step at the original size, against AllenNLP's parts",
    "peak_memory_training": "peak memory of training at the original size, and its parts",
    "scaling": "a training step in one and in two processes, and the bytes that the processes exchange",
    "growth": "the growth of time when batch, LSTM, vocabulary and corpus double",
}
DEFAULT_ROUNDS = 5


def main(arguments: Optional[list[str]] = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    # As in training; all contenders have it.
    keep_freed_memory()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    rounds = options.rounds or (2 if options.quick else DEFAULT_ROUNDS)
    # Imported after the arguments are parsed, so that `--help` does not wait for PyTorch.
    import torch

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.names or BENCHMARKS:
        # In the directory of the results, because the directory for temporary files may be in memory.
        with (
            tempfile.TemporaryDirectory(dir=options.output, prefix=".scratch-") as scratch,
            StealTimeWatch() as steal_watch,
        ):
            settings = Settings(
                quick=options.quick,
                rounds=rounds,
                scratch=Path(scratch).resolve(),
                num_tokens=options.tokens,
                without_allennlp=options.without_allennlp,
                text=options.text,
                steal_time=steal_watch.within,
            )
            try:
                _run(name, settings, options.output / f"{name}.json")
            except Exception:
                # The remaining benchmarks still run: they may take hours.
                traceback.print_exc()
                failed.append(name)
    if failed:
        sys.exit(f"not measured, see above: {', '.join(failed)}")


def _run(name: str, settings: Settings, path: Path) -> None:
    """Run one benchmark, print its table, and write its JSON to `path` and its plot beside it."""
    from .measurement import machine

    start = time.perf_counter()
    about = {
        **machine.facts(),
        "rounds": settings.rounds,
        "before": machine.rates(settings.quick, settings.steal_time),
    }
    report = importlib.import_module(f".{name}", __package__).run(settings)
    about["after"] = machine.rates(settings.quick, settings.steal_time)
    end = time.perf_counter()
    about["steal_time_share"] = settings.steal_time(start, end) / (end - start)
    report.write_json(path, about, settings.quick)
    print(report.table(), end="", flush=True)
    _print_machine(about)
    _plot(path)


def _plot(path: Path) -> None:
    from .plot import NO_MATPLOTLIB, write_plot

    report, image = json.loads(path.read_text("utf-8")), path.with_suffix(".png")
    plotted = ""
    if report["cases"]:
        plotted = f" and {image}" if write_plot(report, image) else f"; {NO_MATPLOTLIB}"
    print(f"wrote {path}{plotted}\n", flush=True)


def _print_machine(about: dict[str, Any]) -> None:
    rates = ", ".join(
        f"{about['before'][key]:,.1f} before and {about['after'][key]:,.1f} after {unit}"
        for key, unit in (("sgemm_gflops", "GFLOP/s of sgemm"), ("copy_gigabytes_per_second", "GB/s of copying"))
    )
    print(f"{about['cpu']}, {about['threads']} of {about['cpus']} cores, torch {about['torch']}: {rates}")
    if about["steal_time_share"] > 0.01:
        print(f"CPU steal time: {100 * about['steal_time_share']:.0f}%, subtracted from all figures above")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this package and its alternatives in turn. Nothing here passes or fails.",
        epilog="benchmarks:\n" + "\n".join(f"  {name:<22}{summary}" for name, summary in BENCHMARKS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="benchmarks to run (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to check that all benchmarks run; the figures mean nothing"
    )
    parser.add_argument(
        "--rounds", type=_positive, help=f"turns of each contender (default: {DEFAULT_ROUNDS}, quick 2)"
    )
    parser.add_argument("--output", type=Path, default=Path("bench"), help="directory of the results (default: bench)")
    parser.add_argument("--threads", type=_positive, help="PyTorch's threads (default: PyTorch's own choice)")
    parser.add_argument("--tokens", type=_positive, help="size of generated texts (default: each benchmark's own)")
    parser.add_argument(
        "--text", type=_file, help="text for `pretraining`, `quality` and `embedding` (default: a generated one)"
    )
    parser.add_argument("--without-allennlp", action="store_true", help="omit AllenNLP's contenders")
    return parser


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no such file: {text}")
    return Path(text).resolve()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


if __name__ == "__main__":
    main()
