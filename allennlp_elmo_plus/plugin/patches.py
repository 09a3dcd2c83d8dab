"""Changes to classes of AllenNLP 2.10.1 where it leaves no other way. Each function makes one, and is called below."""

import contextlib
import functools
import inspect
import sys
from collections.abc import Iterator
from typing import Any

from allennlp.commands.predict import _PredictManager
from allennlp.common import logging as common_logging
from allennlp.common.file_utils import cached_path, open_compressed
from allennlp.common.util import JsonDict
from allennlp.training import GradientDescentTrainer

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.commands.error_lines import hook_with_error_lines
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.predictors.bilm_predictor import BilmPredictor
from allennlp_elmo_plus.plugin.strict_from_params import refuse_unknown
from allennlp_elmo_plus.plugin.training.dense_gradients import adapt_gradients

# Arguments of a trainer that AllenNLP passes itself.
_NOT_OPTIONS_OF_TRAINERS = (
    *("model", "serialization_dir", "data_loader", "validation_data_loader", "local_rank", "distributed", "world_size"),
    *("ddp_accelerator", "kwargs"),
)


def adapt_gradients_of_new_trainers() -> None:
    """Has every new `GradientDescentTrainer` passed to `adapt_gradients`.

    Without this, the trainer's clips and most optimizers fail in the first batch over the sparse gradient of a sampled softmax
    (`clip_grad_norm_` in `GradientDescentTrainer.rescale_gradients`). Neither the model nor the optimizer is told of the trainer,
    and callbacks are optional.
    """
    construct = GradientDescentTrainer.__init__
    if hasattr(construct, "adapts_gradients"):
        return

    @functools.wraps(construct)
    def construct_and_adapt(self: GradientDescentTrainer, *arguments: Any, **options: Any) -> None:
        construct(self, *arguments, **options)
        adapt_gradients(self)

    construct_and_adapt.adapts_gradients = True  # type: ignore[attr-defined]
    GradientDescentTrainer.__init__ = construct_and_adapt  # type: ignore[method-assign]


def refuse_unknown_options_of_trainers() -> None:
    """Has `GradientDescentTrainer.from_partial_objects` refuse options that it does not know, where it is to train the model "bilm".

    Without this, `trainer: {"epochs": 1}` trains the default of 20 epochs without a word, as the method takes `**kwargs` and drops
    them.
    """
    construct: Any = GradientDescentTrainer.from_partial_objects.__func__  # type: ignore[attr-defined]
    if hasattr(construct, "refuses_unknown_options"):
        return
    arguments = list(inspect.signature(construct).parameters)[1:]

    @functools.wraps(construct)
    def check_and_construct(cls: type[GradientDescentTrainer], *args: Any, **options: Any) -> GradientDescentTrainer:
        if cls is GradientDescentTrainer and isinstance(options.get("model"), BilmModel):
            unknown = [name for name in options if name not in arguments]
            refuse_unknown("trainer", unknown, [name for name in arguments if name not in _NOT_OPTIONS_OF_TRAINERS])
        return construct(cls, *args, **options)

    check_and_construct.refuses_unknown_options = True  # type: ignore[attr-defined]
    GradientDescentTrainer.from_partial_objects = classmethod(check_and_construct)  # type: ignore[assignment]


def print_error_lines_of_commands() -> None:
    """Has this process, which runs the command `allennlp`, end with `error_line` in place of a traceback where there is such a line.

    The hook is set again after `prepare_global_logging`, which every training calls: its last lines set a hook of AllenNLP that
    logs each traceback to stderr.
    """
    prepare = common_logging.prepare_global_logging

    @functools.wraps(prepare)
    def prepare_and_set_hook(*arguments: Any, **options: Any) -> None:
        prepare(*arguments, **options)
        sys.excepthook = hook_with_error_lines(sys.excepthook)

    common_logging.prepare_global_logging = prepare_and_set_hook
    sys.excepthook = hook_with_error_lines(sys.excepthook)


def _runs_a_command() -> bool:
    """Whether this process was started by the script `allennlp` or as `python -m allennlp`."""
    main = sys.modules["__main__"]
    # What the script imports; the name of the module that `python -m` runs.
    script, module = getattr(main, "run", None), getattr(main, "__spec__", None)
    return "allennlp.__main__" in (getattr(script, "__module__", None), getattr(module, "name", None))


def _answer_blank_lines() -> None:
    """Makes `allennlp predict` give every line to the predictor "bilm".

    AllenNLP leaves out lines of white space (`if not line.isspace()` in `_PredictManager._get_json_data`), and each answer after
    such a line was no longer in the line of its request.
    """
    original = getattr(_PredictManager, "_get_json_data", None)
    if original is None:
        return

    def get_json_data(self: _PredictManager) -> Iterator[JsonDict]:
        if isinstance(self._predictor, BilmPredictor):
            return _all_lines(self)
        return original(self)

    _PredictManager._get_json_data = get_json_data


def _all_lines(manager: _PredictManager) -> Iterator[JsonDict]:
    with contextlib.ExitStack() as stack:
        lines = sys.stdin
        if manager._input_file != "-":
            lines = stack.enter_context(open_compressed(cached_path(manager._input_file)))
        number = 0
        try:
            for number, line in enumerate(lines, start=1):  # noqa: B007
                yield manager._predictor.load_line(line)
        except InputError as error:
            raise InputError(f"line {number}: {error}") from None
        except UnicodeDecodeError as error:
            raise InputError(
                f"{manager._input_file}: must be text in UTF-8, got after line {number}: {error}"
            ) from None


adapt_gradients_of_new_trainers()
_answer_blank_lines()
refuse_unknown_options_of_trainers()
# In any other program exceptions reach its own handlers as ever.
if _runs_a_command():
    print_error_lines_of_commands()
