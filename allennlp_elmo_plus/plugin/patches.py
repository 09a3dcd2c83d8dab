"""Every change to AllenNLP's own classes and modules, each with its symptom and the line of AllenNLP 2.10.1 that it answers.

`apply` makes the changes. Each replaced function keeps AllenNLP's own one as `__wrapped__`.
"""

import contextlib
import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Union

from allennlp.commands import evaluate, predict, train
from allennlp.common import Params
from allennlp.common import logging as common_logging
from allennlp.common import tqdm as common_tqdm
from allennlp.common.file_utils import cached_path, open_compressed
from allennlp.common.util import JsonDict
from allennlp.data.vocabulary import DEFAULT_OOV_TOKEN, Vocabulary
from allennlp.evaluation.evaluator import SimpleEvaluator
from allennlp.training import GradientDescentTrainer
from allennlp.training import util as training_util
from allennlp.training.learning_rate_schedulers.pytorch_lr_schedulers import (
    ReduceOnPlateauLearningRateScheduler as _PlateauScheduler,
)
from allennlp.version import VERSION
from torch.optim.lr_scheduler import ReduceLROnPlateau

from allennlp_elmo_plus.commands.shared.error_lines import hook_with_error_lines
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.data.vocabulary import PADDING_TOKEN, TOKENS_NAMESPACE, BilmVocabulary
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.predictors.bilm_predictor import BilmPredictor
from allennlp_elmo_plus.plugin.strict_from_params import refuse_unknown
from allennlp_elmo_plus.plugin.terminal import (
    BatchesWithLength,
    TerminalBar,
    describe_metrics,
    evaluate_and_print,
    show_log_on_terminal,
)
from allennlp_elmo_plus.plugin.training.callbacks.plan import BilmPlan
from allennlp_elmo_plus.plugin.training.dense_gradients import adapt_gradients
from allennlp_elmo_plus.plugin.training.spawn import spawn
from allennlp_elmo_plus.storage.atomic_files import atomic_path

logger = logging.getLogger(__name__)

# Arguments of a trainer that AllenNLP passes itself.
_NOT_OPTIONS_OF_TRAINERS = (
    *("model", "serialization_dir", "data_loader", "validation_data_loader", "local_rank", "distributed", "world_size"),
    *("ddp_accelerator", "kwargs"),
)

# The modules of the programs `allennlp` and `elmo-plus`, and the functions that their scripts import.
_PROGRAMS = {"allennlp", "allennlp_elmo_plus", "elmo-plus"}

# The metrics of the model "bilm" over held-out text; the others only where it reads in two directions.
_VALIDATION_METRICS = ("perplexity", "loss", "tokens_per_second")
_METRICS_OF_DIRECTIONS = ("forward_perplexity", "backward_perplexity")


def apply() -> None:
    """Make all changes to AllenNLP, which must be release 2.10; with any other release, log a warning and change nothing."""
    if not VERSION.startswith("2.10."):
        logger.warning("AllenNLP must be 2.10 for the changes of `plugin.patches`, got %s: none is made", VERSION)
        return
    _replace(GradientDescentTrainer, "__init__", _construct_adapt_gradients_and_announce)
    _replace(GradientDescentTrainer, "from_partial_objects", _refuse_unknown_options_and_construct)
    _replace(GradientDescentTrainer, "_save_model_state", _save_weights_atomically)
    if "verbose" not in inspect.signature(ReduceLROnPlateau).parameters:
        _replace(_PlateauScheduler, "__init__", _construct_without_verbose)
    _replace(Params, "to_file", _write_atomically)
    _replace(Vocabulary, "from_files", _load_of_either_kind)
    _replace(predict._PredictManager, "_get_json_data", _read_blank_lines_too)
    spawn_with_signals_and_errors()
    # In any other program exceptions reach the handlers of that program.
    if _runs_a_command():
        # It sets up the log; `elmo-plus` and the processes of a training have not imported it.
        import_module("allennlp.__main__")
        print_error_lines_of_commands()
        tidy_terminal_of_commands()


def _construct_adapt_gradients_and_announce(
    construct: Callable[..., None], trainer: GradientDescentTrainer, *args: Any, **options: Any
) -> None:
    """Pass the new `trainer` to `adapt_gradients`, and to the callback "bilm_plan".

    Symptom: the trainer's clips and most optimizers fail in the first batch over the sparse gradient of a sampled softmax
    (training/gradient_descent_trainer.py:389, `clip_grad_norm_`). Neither the model nor the optimizer knows the trainer, and
    callbacks are optional. With `--dry-run` no callback is called, so that the plan is missing (commands/train.py:501).
    """
    construct(trainer, *args, **options)
    adapt_gradients(trainer)
    for callback in trainer._callbacks:
        if isinstance(callback, BilmPlan):
            callback.announce(trainer)


def _refuse_unknown_options_and_construct(
    construct: Callable[..., Any], cls: type[GradientDescentTrainer], *args: Any, **options: Any
) -> Any:
    """Return the trainer of these options; refuse unknown options and metrics of a trainer for the model "bilm".

    Symptom: `trainer: {"epochs": 1}` trains the default of 20 epochs without a warning, since the method takes `**kwargs` and
    ignores them (training/gradient_descent_trainer.py:1117). A `validation_metric` that the model does not have is an error only
    after the first epoch (training/metric_tracker.py:130).
    """
    if cls is GradientDescentTrainer and isinstance(options.get("model"), BilmModel):
        known = list(inspect.signature(construct).parameters)[1:]
        unknown = [name for name in options if name not in known]
        refuse_unknown("trainer", unknown, [name for name in known if name not in _NOT_OPTIONS_OF_TRAINERS])
        # A subclass may have metrics of its own.
        if type(options["model"]) is BilmModel:
            _refuse_unknown_metrics(options.get("validation_metric") or "-loss", options["model"])
    return construct(cls, *args, **options)


def _refuse_unknown_metrics(metrics: Union[str, list[str]], model: BilmModel) -> None:
    known = (*_VALIDATION_METRICS, *(_METRICS_OF_DIRECTIONS if model.language_model.bilm.is_bidirectional else ()))
    for metric in [metrics] if isinstance(metrics, str) else metrics:
        if metric.lstrip("+-") not in known:
            raise InputError(f"`validation_metric` must be one of {', '.join(known)}, got {metric!r}")


def _save_weights_atomically(save: Callable[..., None], trainer: GradientDescentTrainer, path: str) -> None:
    """Write the best weights to a new file, which then replaces the file at `path`.

    Symptom: `best.th` may be a hard link to the weights of an earlier epoch's checkpoint (training/gradient_descent_trainer.py:922). If a
    later epoch that saves no checkpoint is better, AllenNLP writes its weights into that checkpoint too.
    """
    with atomic_path(path) as temporary:
        save(trainer, str(temporary))


def _construct_without_verbose(
    construct: Callable[..., None], wrapper: _PlateauScheduler, *args: Any, **options: Any
) -> None:
    """Construct the learning rate scheduler "reduce_on_plateau" without passing `verbose` to PyTorch.

    Symptom: a config with this scheduler ends in a `TypeError` before training, since `ReduceLROnPlateau` has no `verbose` from
    PyTorch 2.7 on (training/learning_rate_schedulers/pytorch_lr_schedulers.py:221).
    """
    arguments = inspect.signature(construct).bind(wrapper, *args, **options).arguments
    names = [name for name in arguments if name not in ("self", "verbose")]
    super(_PlateauScheduler, wrapper).__init__(ReduceLROnPlateau(**{name: arguments[name] for name in names}))


def _write_atomically(write: Callable[..., None], params: Params, file: str, *args: Any, **options: Any) -> None:
    """Write a config to `file` atomically.

    Symptom: `allennlp train --recover` writes `config.json` again, in place, before it constructs anything of a plugin
    (commands/train.py:239, common/params.py:476). A full disk or a kill at that moment leaves an empty file, and no later recovery
    can read its config.
    """
    with atomic_path(file) as temporary:
        write(params, str(temporary), *args, **options)


def _load_of_either_kind(
    load: Callable[..., Vocabulary], cls: type[Vocabulary], *args: Any, **options: Any
) -> Vocabulary:
    """Return a `BilmVocabulary` for the files that a `BilmVocabulary` saved.

    Symptom: for a distributed training AllenNLP loads every vocabulary with its own class, whatever its type in the config is:
    at recovery without tokens (commands/train.py:306), where the padding token is then missing from the files and an assertion
    fails; and in each process with the tokens (commands/train.py:312), where the ids of words spelled like AllenNLP's escapes
    change.
    """
    if cls is Vocabulary and options.get("padding_token") == PADDING_TOKEN:
        return BilmVocabulary.from_files(*args, **options)
    if cls is not Vocabulary or len(args) != 1 or options:
        return load(cls, *args, **options)
    try:
        vocabulary = load(cls, *args)
    except AssertionError:
        return BilmVocabulary.from_files(*args)
    return BilmVocabulary.from_files(*args) if _is_of_bilm(vocabulary) else vocabulary


def _is_of_bilm(vocabulary: Vocabulary) -> bool:
    """Return whether a `BilmVocabulary` saved the `vocabulary`, which was loaded with AllenNLP's own tokens.

    AllenNLP's `@@UNKNOWN@@` may be a word of the text, but in AllenNLP's files it is always the first.
    """
    words = vocabulary.get_token_to_index_vocabulary(TOKENS_NAMESPACE)
    return words.get(DEFAULT_OOV_TOKEN) != 1 and all(word in words for word in SPECIAL_WORDS)


def _read_blank_lines_too(read: Callable[..., Iterator[JsonDict]], manager: Any) -> Iterator[JsonDict]:
    """Return the requests of `allennlp predict`, for the predictor "bilm" one for every line of the input.

    Symptom: AllenNLP leaves out lines of white space (commands/predict.py:208 and 214), so that each answer after such a line is
    no longer in the line of its request.
    """
    is_ours = isinstance(manager._predictor, BilmPredictor)
    return _all_requests(manager._input_file, manager._predictor) if is_ours else read(manager)


def _all_requests(input_file: str, predictor: BilmPredictor) -> Iterator[JsonDict]:
    with contextlib.ExitStack() as stack:
        lines = sys.stdin if input_file == "-" else stack.enter_context(open_compressed(cached_path(input_file)))
        line_number = 0
        try:
            for line in lines:
                line_number += 1
                if line_number == 1:
                    # Some editors write a byte order mark.
                    line = line.removeprefix("\ufeff")
                yield predictor.load_line(line)
        except InputError as error:
            raise InputError(f"line {line_number}: {error}") from None
        except UnicodeDecodeError as error:
            raise InputError(f"{input_file}: must be text in UTF-8, got after line {line_number}: {error}") from None


def spawn_with_signals_and_errors() -> None:
    """Have `allennlp train` start the processes of a distributed training with `plugin.training.spawn.spawn`.

    Symptom: AllenNLP waits for the processes whatever signal it receives itself (commands/train.py:325, `mp.spawn`), so that a
    container's stop or a `kill` of that one process stops no training; and an error that a user's input causes in a process
    arrives as the text of a traceback. And AllenNLP ignores unknown options of the section `distributed` (commands/train.py:342).
    """
    train.mp = SimpleNamespace(spawn=spawn)  # type: ignore[assignment]


def print_error_lines_of_commands() -> None:
    """Have this process, which runs a command, print `error_line` in place of a traceback, for errors that have one.

    Symptom: a typing error in a config ends in a traceback of 40 lines. The hook is set again after `prepare_global_logging`,
    which every training calls: it sets a hook of AllenNLP that logs each traceback to stderr (common/logging.py:126).
    """

    def prepare_and_set_hook(prepare: Callable[..., Any], *args: Any, **options: Any) -> Any:
        result = prepare(*args, **options)
        sys.excepthook = hook_with_error_lines(sys.excepthook)
        return result

    _replace(common_logging, "prepare_global_logging", prepare_and_set_hook)
    sys.excepthook = hook_with_error_lines(sys.excepthook)


def tidy_terminal_of_commands() -> None:
    """Have this process, which runs a command, write to the terminal as `plugin.terminal` does.

    Symptom: 160 lines before the first progress bar of a training, most of them the parameters that AllenNLP logs one by one
    (common/params.py:221); and a bar of 290 characters, since its text has every metric (training/util.py:416) and its width is
    not that of the terminal (common/tqdm.py:87), so that each refresh leaves a broken line. `allennlp evaluate` without
    `--output-file` shows no result but the text of its last bar (commands/evaluate.py:376), and that bar has no share and no time,
    since it is over an iterator (evaluation/evaluator.py:164).
    """

    def prepare_and_show(prepare: Callable[..., Any], *args: Any, **options: Any) -> Any:
        result = prepare(*args, **options)
        show_log_on_terminal()
        return result

    def evaluate_with_length(
        call: Callable[..., Any], evaluator: Any, model: Any, loader: Any, *args: Any, **options: Any
    ) -> Any:
        return call(evaluator, model, BatchesWithLength(loader), *args, **options)

    show_log_on_terminal()
    _replace(SimpleEvaluator, "__call__", evaluate_with_length)
    _replace(common_logging, "prepare_global_logging", prepare_and_show)
    _replace(training_util, "description_from_metrics", describe_metrics)
    _replace(evaluate, "evaluate_from_archive", evaluate_and_print)
    common_tqdm._tqdm = TerminalBar  # type: ignore[misc]


def _runs_a_command() -> bool:
    """Return whether this process was started by one of the programs, as a script or with `python -m`.

    A process that `torch.multiprocessing` has spawned has the arguments of its parent.
    """
    program = Path(sys.argv[0])
    return (program.parent.name if program.name == "__main__.py" else program.stem) in _PROGRAMS


def _replace(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    """Have the attribute `name` of `owner` call `replacement` with the current function and its arguments.

    A class method stays one.
    """
    current = inspect.getattr_static(owner, name)
    is_class_method = isinstance(current, classmethod)
    function = current.__func__ if is_class_method else current

    @functools.wraps(function)
    def replaced(*args: Any, **options: Any) -> Any:
        return replacement(function, *args, **options)

    setattr(owner, name, classmethod(replaced) if is_class_method else replaced)
