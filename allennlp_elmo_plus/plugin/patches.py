"""Every change to AllenNLP's own classes and modules, each with its symptom and the line of AllenNLP 2.10.1 that it answers.

`apply` makes the changes. Each replaced function keeps AllenNLP's own one as `__wrapped__`.
"""

import contextlib
import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from allennlp.commands import predict, train
from allennlp.common import Params
from allennlp.common import logging as common_logging
from allennlp.common.file_utils import cached_path, open_compressed
from allennlp.common.util import JsonDict
from allennlp.data.vocabulary import DEFAULT_OOV_TOKEN, Vocabulary
from allennlp.training import GradientDescentTrainer
from allennlp.training.learning_rate_schedulers import pytorch_lr_schedulers
from allennlp.version import VERSION
from torch.optim.lr_scheduler import ReduceLROnPlateau

from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.commands.error_lines import hook_with_error_lines
from allennlp_elmo_plus.plugin.data.vocabulary import PADDING_TOKEN, TOKENS_NAMESPACE, BilmVocabulary
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.predictors.bilm_predictor import BilmPredictor
from allennlp_elmo_plus.plugin.strict_from_params import refuse_unknown
from allennlp_elmo_plus.plugin.training.dense_gradients import adapt_gradients
from allennlp_elmo_plus.plugin.training.spawn import spawn
from allennlp_elmo_plus.storage.atomic_files import atomic_path

logger = logging.getLogger(__name__)

# Arguments of a trainer that AllenNLP passes itself.
_NOT_OPTIONS_OF_TRAINERS = (
    *("model", "serialization_dir", "data_loader", "validation_data_loader", "local_rank", "distributed", "world_size"),
    *("ddp_accelerator", "kwargs"),
)


def apply() -> None:
    """Make all changes to AllenNLP, which must be release 2.10; with any other release, log a warning and change nothing."""
    if not VERSION.startswith("2.10."):
        logger.warning("AllenNLP must be 2.10 for the changes of `plugin.patches`, got %s: none is made", VERSION)
        return
    adapt_gradients_of_new_trainers()
    refuse_unknown_options_of_trainers()
    construct_plateau_schedulers_without_verbose()
    write_configs_atomically()
    load_bilm_vocabularies()
    keep_blank_lines_in_predict()
    spawn_with_signals_and_errors()
    # In any other program exceptions reach the handlers of that program.
    if _runs_a_command():
        print_error_lines_of_commands()


def adapt_gradients_of_new_trainers() -> None:
    """Have `GradientDescentTrainer.__init__` pass each new trainer to `adapt_gradients`.

    Symptom: the trainer's clips and most optimizers fail in the first batch over the sparse gradient of a sampled softmax
    (training/gradient_descent_trainer.py:389, `clip_grad_norm_`). Neither the model nor the optimizer knows the trainer, and
    callbacks are optional.
    """

    def wrap(construct: Callable[..., None]) -> Callable[..., None]:
        def construct_and_adapt(self: GradientDescentTrainer, *args: Any, **options: Any) -> None:
            construct(self, *args, **options)
            adapt_gradients(self)

        return construct_and_adapt

    _replace(GradientDescentTrainer, "__init__", wrap)


def refuse_unknown_options_of_trainers() -> None:
    """Have `GradientDescentTrainer.from_partial_objects` refuse unknown options of a trainer for the model "bilm".

    Symptom: `trainer: {"epochs": 1}` trains the default of 20 epochs without a warning, since the method takes `**kwargs` and
    ignores them (training/gradient_descent_trainer.py:1117).
    """

    def wrap(construct: Callable[..., Any]) -> Callable[..., Any]:
        known = list(inspect.signature(construct).parameters)[1:]

        def check_and_construct(cls: type[GradientDescentTrainer], *args: Any, **options: Any) -> Any:
            if cls is GradientDescentTrainer and isinstance(options.get("model"), BilmModel):
                unknown = [name for name in options if name not in known]
                refuse_unknown("trainer", unknown, [name for name in known if name not in _NOT_OPTIONS_OF_TRAINERS])
            return construct(cls, *args, **options)

        return check_and_construct

    _replace(GradientDescentTrainer, "from_partial_objects", wrap)


def construct_plateau_schedulers_without_verbose() -> None:
    """Have the learning rate scheduler "reduce_on_plateau" no longer pass `verbose` to PyTorch.

    Symptom: a config with this scheduler ends in a `TypeError` before training, since `ReduceLROnPlateau` has no `verbose` from
    PyTorch 2.7 on (training/learning_rate_schedulers/pytorch_lr_schedulers.py:221).
    """
    wrapper = pytorch_lr_schedulers.ReduceOnPlateauLearningRateScheduler

    def wrap(construct: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(construct)

        def construct_without_verbose(self: Any, *args: Any, **options: Any) -> None:
            arguments = signature.bind(self, *args, **options).arguments
            scheduler = ReduceLROnPlateau(
                **{name: value for name, value in arguments.items() if name not in ("self", "verbose")}
            )
            super(wrapper, self).__init__(scheduler)

        return construct_without_verbose

    if "verbose" not in inspect.signature(ReduceLROnPlateau).parameters:
        _replace(wrapper, "__init__", wrap)


def write_configs_atomically() -> None:
    """Have `Params.to_file` write its file atomically.

    Symptom: `allennlp train --recover` writes `config.json` again, in place, before it constructs anything of a plugin
    (commands/train.py:239, common/params.py:476). A full disk or a kill at that moment leaves an empty file, and no later recovery
    can read its config.
    """

    def wrap(write: Callable[..., None]) -> Callable[..., None]:
        def write_atomically(self: Params, params_file: str, *args: Any, **options: Any) -> None:
            with atomic_path(params_file) as temporary:
                write(self, str(temporary), *args, **options)

        return write_atomically

    _replace(Params, "to_file", wrap)


def load_bilm_vocabularies() -> None:
    """Have `Vocabulary.from_files` return a `BilmVocabulary` for the files that a `BilmVocabulary` saved.

    Symptom: for a distributed training AllenNLP loads every vocabulary with its own class, whatever its type in the config is:
    at recovery without tokens (commands/train.py:306), where the padding token is then missing from the files and an assertion
    fails; and in each process with the tokens (commands/train.py:312), where the ids of words spelled like AllenNLP's escapes
    change.
    """

    def wrap(load: Callable[..., Vocabulary]) -> Callable[..., Vocabulary]:
        def load_of_either_kind(cls: type[Vocabulary], *args: Any, **options: Any) -> Vocabulary:
            if cls is Vocabulary and options.get("padding_token") == PADDING_TOKEN:
                return BilmVocabulary.from_files(*args, **options)
            has_no_tokens = cls is Vocabulary and len(args) == 1 and not options
            try:
                vocabulary = load(cls, *args, **options)
            except AssertionError:
                if not has_no_tokens:
                    raise
                return BilmVocabulary.from_files(*args)
            return BilmVocabulary.from_files(*args) if has_no_tokens and _is_of_bilm(vocabulary) else vocabulary

        return load_of_either_kind

    _replace(Vocabulary, "from_files", wrap)


def _is_of_bilm(vocabulary: Vocabulary) -> bool:
    """Return whether a `BilmVocabulary` saved the `vocabulary`, which was loaded with AllenNLP's own tokens.

    AllenNLP's `@@UNKNOWN@@` may be a word of the text, but in AllenNLP's files it is always the first.
    """
    words = vocabulary.get_token_to_index_vocabulary(TOKENS_NAMESPACE)
    return words.get(DEFAULT_OOV_TOKEN) != 1 and all(word in words for word in SPECIAL_WORDS)


def keep_blank_lines_in_predict() -> None:
    """Have `allennlp predict` give every line of its input to the predictor "bilm".

    Symptom: AllenNLP leaves out lines of white space (commands/predict.py:208 and 214), so that each answer after such a line is
    no longer in the line of its request.
    """

    def wrap(read: Callable[..., Iterator[JsonDict]]) -> Callable[..., Iterator[JsonDict]]:
        def read_all_or_as_before(self: Any) -> Iterator[JsonDict]:
            is_ours = isinstance(self._predictor, BilmPredictor)
            return _all_requests(self._input_file, self._predictor) if is_ours else read(self)

        return read_all_or_as_before

    _replace(predict._PredictManager, "_get_json_data", wrap)


def _all_requests(input_file: str, predictor: BilmPredictor) -> Iterator[JsonDict]:
    with contextlib.ExitStack() as stack:
        lines = sys.stdin if input_file == "-" else stack.enter_context(open_compressed(cached_path(input_file)))
        line_number = 0
        try:
            for line in lines:
                line_number += 1
                yield predictor.load_line(line)
        except InputError as error:
            raise InputError(f"line {line_number}: {error}") from None
        except UnicodeDecodeError as error:
            raise InputError(f"{input_file}: must be text in UTF-8, got after line {line_number}: {error}") from None


def spawn_with_signals_and_errors() -> None:
    """Have `allennlp train` start the processes of a distributed training with `plugin.training.spawn.spawn`.

    Symptom: AllenNLP waits for the processes whatever signal it receives itself (commands/train.py:325, `mp.spawn`), so that a
    container's stop or a `kill` of that one process stops no training; and an error that a user's input causes in a process
    arrives as the text of a traceback.
    """
    train.mp = SimpleNamespace(spawn=spawn)  # type: ignore[assignment]


def print_error_lines_of_commands() -> None:
    """Have this process, which runs the command `allennlp`, print `error_line` in place of a traceback, for errors that have one.

    Symptom: a typing error in a config ends in a traceback of 40 lines. The hook is set again after `prepare_global_logging`,
    which every training calls: it sets a hook of AllenNLP that logs each traceback to stderr (common/logging.py:126).
    """

    def wrap(prepare: Callable[..., Any]) -> Callable[..., Any]:
        def prepare_and_set_hook(*args: Any, **options: Any) -> Any:
            result = prepare(*args, **options)
            sys.excepthook = hook_with_error_lines(sys.excepthook)
            return result

        return prepare_and_set_hook

    _replace(common_logging, "prepare_global_logging", wrap)
    sys.excepthook = hook_with_error_lines(sys.excepthook)


def _runs_a_command() -> bool:
    """Return whether this process was started by the script `allennlp` or as `python -m allennlp`."""
    main = sys.modules["__main__"]
    # The script imports the function `run`; `python -m` records the name of the module that it runs.
    script, module = getattr(main, "run", None), getattr(main, "__spec__", None)
    return "allennlp.__main__" in (getattr(script, "__module__", None), getattr(module, "name", None))


def _replace(owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Set the attribute `name` of `owner` to what `wrap` makes of the current function; a class method stays one."""
    current = inspect.getattr_static(owner, name)
    is_class_method = isinstance(current, classmethod)
    function = current.__func__ if is_class_method else current
    wrapped = functools.wraps(function)(wrap(function))
    setattr(owner, name, classmethod(wrapped) if is_class_method else wrapped)
