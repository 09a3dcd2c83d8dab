"""What AllenNLP's commands show on the terminal: log lines of this package, warnings, and progress bars of one line."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import allennlp
from tqdm import tqdm

from allennlp_elmo_plus.commands.shared.log_lines import TerminalFormatter, TerminalHandler

_ALLENNLP = str(Path(allennlp.__file__).parent) + os.sep
# AllenNLP's log lines that the terminal shows, by module and function: where results lie, and the epochs of other models.
_ARCHIVE = ("models/archival.py", "archive_model")
_METRICS = ("common/util.py", "dump_metrics")
_TRAINER, _TABLE = "training/gradient_descent_trainer.py", "training/callbacks/console_logger.py"
# Warnings of AllenNLP that come with every distributed training (common/from_params.py:285, training/gradient_descent_trainer.py:734).
_USUAL_WARNINGS = ("was found in both **extras and in params", "completed its entire epoch")
# Logs which processes of a distributed training it ends: those that outlive the first error, or the first process that stopped.
_LAUNCHER = "torch.multiprocessing.spawn"
# Logs the command, the versions and the machine of a run; the report about the run reads them in out.log.
_START_LOGGER = "allennlp_elmo_plus.plugin.training.callbacks.resume"
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
_BAR_WITHOUT_TOTAL = "batch {n_fmt}{postfix}"
_BAR_WITH_TIME = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"


class TerminalFilter(logging.Filter):
    """Hides the info that AllenNLP logs, such as each parameter of a config, the versions of a run, and PyTorch's launcher.

    Other warnings and errors are shown, except the usual ones.

    Attributes:
        hides_trainer: whether the lines of AllenNLP's trainer, and metrics as JSON, are hidden too.
    """

    hides_trainer = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether `record` is shown."""
        if record.name == _LAUNCHER:
            return False
        if not record.pathname.startswith(_ALLENNLP):
            return record.name != _START_LOGGER or record.levelno >= logging.WARNING
        if record.levelno >= logging.WARNING:
            return not any(text in record.getMessage() for text in _USUAL_WARNINGS)
        module = record.pathname.removeprefix(_ALLENNLP).replace(os.sep, "/")
        if (module, record.funcName) == _ARCHIVE:
            return True
        if self.hides_trainer:
            return False
        is_epoch = module == _TRAINER and record.getMessage().startswith("Epoch ")
        return is_epoch or module == _TABLE or (module, record.funcName) == _METRICS


def show_log_on_terminal() -> None:
    """Have the root logger and PyTorch's write to the terminal as the classes of this module do.

    Log files get every line as before.

    Nothing is changed where the user asks for debug messages (`ALLENNLP_DEBUG`, `ALLENNLP_LOG_LEVEL`).
    """
    root = logging.getLogger()
    if root.getEffectiveLevel() < logging.INFO:
        return
    for logger in (root, logging.getLogger("torch")):
        for handler in list(logger.handlers):
            # Not a subclass, such as the handler of a file.
            if type(handler) is logging.StreamHandler:
                shown = TerminalHandler(handler.stream)
                shown.setLevel(handler.level)
                shown.setFormatter(TerminalFormatter())
                for each_filter in (*handler.filters, TerminalFilter()):
                    shown.addFilter(each_filter)
                logger.removeHandler(handler)
                logger.addHandler(shown)


def hide_trainer_log() -> None:
    """Hide the lines of AllenNLP's trainer, and its metrics as JSON, on the terminal: the caller shows what they say."""
    for handler in logging.getLogger().handlers:
        for each_filter in handler.filters:
            if isinstance(each_filter, TerminalFilter):
                each_filter.hides_trainer = True


class BatchesWithLength:
    """The batches of a data loader, as an iterator that has the length of the loader: a bar then shows the share that is done.

    Any other attribute is that of the loader.
    """

    def __init__(self, loader: Any) -> None:
        self._loader, self._batches = loader, iter(loader)

    def __iter__(self) -> "BatchesWithLength":
        return self

    def __next__(self) -> Any:
        return next(self._batches)

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class TerminalBar(tqdm):
    """A progress bar that never exceeds one line of the terminal.

    AllenNLP puts all metrics before the bar, so that a narrow terminal shows neither bar nor time. Here they follow it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"ncols": _columns(), **kwargs})

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """Show the metrics that AllenNLP passes, which end with `||`, or any other description as tqdm does."""
        self.ncols = _columns()
        metrics, end, _ = (desc or "").rpartition(" ||")
        if not end:
            super().set_description(desc, refresh)
            return
        if self.total is None:
            self.bar_format = _BAR_WITHOUT_TOTAL
        else:
            self.bar_format = _BAR if " left, " in metrics else _BAR_WITH_TIME
        self.set_postfix_str(metrics, refresh)


def _columns() -> int:
    try:
        columns = os.get_terminal_size(sys.__stderr__.fileno()).columns  # type: ignore[union-attr]
    except (OSError, ValueError, AttributeError):
        columns = 0
    # After a full line the terminal of Windows begins a new one.
    return (columns or shutil.get_terminal_size().columns) - (os.name == "nt")


def describe_metrics(describe: Callable[..., str], metrics: Mapping[str, float]) -> str:
    """Return the metrics of a batch of a biLM for `TerminalBar`: time left of the training, loss, perplexity and speed.

    Args:
        describe: AllenNLP's function, for the metrics of any other model.
        metrics: by name.
    """
    perplexity = metrics.get("sampled_perplexity", metrics.get("perplexity"))
    if perplexity is None or not {"loss", "tokens_per_second"} <= metrics.keys():
        return describe(metrics)
    parts = [f"{tqdm.format_interval(60 * metrics['eta_minutes'])} left"] if "eta_minutes" in metrics else []
    parts += [
        f"loss {metrics['loss']:.2f}",
        f"perplexity {format_perplexity(perplexity)}",
        f"{metrics['tokens_per_second']:,.0f} tokens/s",
    ]
    return ", ".join(parts) + " ||"


def format_perplexity(perplexity: float) -> str:
    """Return `perplexity` with one digit after the point, without it from 1,000 on."""
    return f"{perplexity:,.1f}" if perplexity < 1000 else f"{perplexity:,.0f}"


def evaluate_and_print(evaluate: Callable[..., dict[str, Any]], *args: Any, **options: Any) -> dict[str, Any]:
    """Return the metrics that `evaluate`, AllenNLP's function, returns for these arguments; print them, a line per metric."""
    hide_trainer_log()
    metrics = evaluate(*args, **options)
    width = max(map(len, metrics), default=0)
    for name, value in metrics.items():
        print(f"{name:<{width}}  {f'{value:,.3f}' if isinstance(value, float) else value!s:>15}")
    return metrics
