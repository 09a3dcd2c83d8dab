"""Describe an error that a user's input causes in one line. Any other error keeps its traceback."""

import gzip
import logging
import os
import pickle
import re
import sys
import tarfile
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Optional

from tqdm import tqdm

from allennlp_elmo_plus.errors import InputError, unknown_option

_PACKAGE = __name__.partition(".")[0]
_FROM_PARAMS = "allennlp.common.from_params"
_UNREADABLE_ARCHIVE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, pickle.UnpicklingError)
_MAX_LENGTH = 2000

ExceptHook = Callable[[type[BaseException], BaseException, Optional[TracebackType]], Any]


class _Frame(NamedTuple):
    """A call that an error passed through."""

    module: str
    function: str
    variables: dict[str, Any]


def error_line(error: BaseException) -> Optional[str]:
    """Return one line for an `error` that a user's input causes; None for any other error.

    A user's input is a file, a line of a file, an option of a config or an argument of a command. If AllenNLP's message lacks the
    name of the file or the value of the option, they are read from the traceback, so `error` must have been raised.
    """
    frames = [
        _Frame(frame.f_globals.get("__name__", ""), frame.f_code.co_name, frame.f_locals)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    for explain in (_configuration, _option, _archive, _jsonnet, _missing_gpu, _missing_package, _missing_ids, _file):
        line = explain(error, frames)
        if line is not None:
            return " ".join(line.split())[:_MAX_LENGTH]
    return None


def hook_with_error_lines(default_hook: ExceptHook) -> ExceptHook:
    """Return a `sys.excepthook` that prints `error_line` on stderr.

    The traceback then goes to the open log files, such as `out.log` of a training. Without an `error_line`, or if the user asks for
    debug messages (`ALLENNLP_DEBUG`, `ALLENNLP_LOG_LEVEL`), the hook calls `default_hook` instead.
    """

    def print_line(kind: type[BaseException], error: BaseException, error_traceback: Optional[TracebackType]) -> None:
        is_debugging = os.environ.get("ALLENNLP_DEBUG") or os.environ.get("ALLENNLP_LOG_LEVEL") == "DEBUG"
        line = None if is_debugging else error_line(error)
        if line is None:
            default_hook(kind, error, error_traceback)
            return
        # A closed progress bar ends its line.
        for bar in list(getattr(tqdm, "_instances", ())):
            bar.close()
        log_to_files(error)
        sys.stdout.flush()
        print(f"error: {line}", file=sys.stderr)

    return print_line


def log_to_files(error: BaseException) -> None:
    """Write `error`, which was raised, with its traceback to the open log files, not to the terminal."""
    root = logging.getLogger()
    exc_info = (type(error), error, error.__traceback__)
    for handler in root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(
                root.makeRecord(root.name, logging.CRITICAL, __file__, 0, "Uncaught exception", (), exc_info)
            )


def _configuration(error: BaseException, frames: list[_Frame]) -> Optional[str]:
    if isinstance(error, InputError):
        return _message(error)
    message = _configuration_message(error)
    if message is None:
        return None
    if message.startswith("Failed to construct argument"):
        return _option_of_several_types(error, message, frames)
    if isinstance(error.__cause__, RuntimeError):
        return f"{message} ({error.__cause__})"
    if frames[-1].function == "create_serialization_dir" and "is not empty" in message:
        return _directory_in_use(Path(frames[-1].variables["serialization_dir"]))
    if message.startswith("Extra parameters passed to ") and frames[-2].function == "create_kwargs":
        return _unknown_option(frames[-2].variables)
    if " not in acceptable choices for type: " in message:
        # AllenNLP names the option only if its type is a union.
        return f"{_class_being_constructed(frames)}: {message}"
    return message


def _directory_in_use(directory: Path) -> str:
    # AllenNLP advises to recover, which needs a checkpoint. A mistake in the config ends a training before the first one.
    if not all((directory / name).exists() for name in ("config.json", "meta.json")):
        return f"`-s` must be a new or an empty directory, or that of a training, got {directory}"
    if any(directory.glob("training_state_*")):
        return f"{directory} holds a training: --recover continues it, --force deletes it and starts anew"
    kind = "a dry run, or a training that ended before its first checkpoint"
    return f"{directory} holds {kind}: --force deletes it and starts anew"


def _configuration_message(error: BaseException) -> Optional[str]:
    # By name: the commands that do not need AllenNLP do not import it.
    kind = type(error)
    is_of_allennlp = (kind.__module__, kind.__name__) == ("allennlp.common.checks", "ConfigurationError")
    return getattr(error, "message") if is_of_allennlp else None  # noqa: B009


def _unknown_option(variables: dict[str, Any]) -> str:
    # AllenNLP names no option that exists. An argument that AllenNLP passes itself is no option.
    known = [name for name in variables["parameters"] if name != "self" and name not in variables["extras"]]
    component = variables["cls"].__name__
    first = next(iter(variables["params"].keys()))
    return unknown_option("the config" if component == "TrainModel" else component, first, known)


def _option_of_several_types(error: BaseException, message: str, frames: list[_Frame]) -> str:
    # AllenNLP tries one type after another. The error of each attempt is the cause of the next error.
    attempt = error.__cause__
    while attempt is not None and not isinstance(attempt, InputError) and _configuration_message(attempt) is None:
        attempt = attempt.__cause__
    if attempt is not None:
        argument = frames[-1].variables.get("argument_name")
        return f"`{argument}`: {_message(attempt)}"
    return _describe_argument(message, frames[-1].variables)


def _message(error: BaseException) -> str:
    # AllenNLP adds arguments in front of the message.
    return _configuration_message(error) or (str(error.args[-1]) if error.args else str(error))


def _option(error: BaseException, frames: list[_Frame]) -> Optional[str]:
    if not frames:
        return None
    last = frames[-1]
    if isinstance(error, TypeError) and last[:2] == (_FROM_PARAMS, "construct_arg"):
        return _describe_argument(str(error), last.variables)
    if isinstance(error, TypeError) and last.function == "__init__" and "unexpected keyword argument" in str(error):
        # A class of AllenNLP that passes the options on, as its dataset readers do.
        owner = _class_being_constructed(frames)
        return None if owner is None else f"{owner}: {error}"
    if isinstance(error, FloatingPointError) and _is_ours(last):
        return str(error)
    if isinstance(error, AssertionError) and last.module == "allennlp.commands.evaluate":
        return str(error)
    if type(error) is not ValueError:
        return None
    if last.module == "allennlp.training.gradient_descent_trainer":
        return str(error)
    owner = _class_being_constructed(frames)
    names_option = _is_ours(last) and re.match(r"`[\w.]+` must ", str(error))
    if owner is not None and (names_option or last.module.startswith("torch.optim")):
        return f"{owner}: {error}"
    return None


def _describe_argument(message: str, variables: dict[str, Any]) -> str:
    value = variables.get("backup_params", variables.get("popped_params"))
    return f"{variables.get('class_name')}: {message.rstrip('.')}, got {getattr(value, 'params', value)!r}"


def _class_being_constructed(frames: list[_Frame]) -> Optional[str]:
    for frame in reversed(frames):
        if frame.module == _FROM_PARAMS and frame.function == "from_params":
            return getattr(frame.variables.get("cls"), "__name__", None)
    return None


def _is_ours(frame: _Frame) -> bool:
    return frame.module.partition(".")[0] == _PACKAGE


def _archive(error: BaseException, frames: list[_Frame]) -> Optional[str]:
    for frame in frames:
        if frame[:2] == ("allennlp.models.archival", "load_archive"):
            archive = frame.variables.get("archive_file")
            if isinstance(error, _UNREADABLE_ARCHIVE):
                return f"{archive}: must be a model.tar.gz that can be read, got: {error}"
            if isinstance(error, RuntimeError) and any(frame.function == "load_state_dict" for frame in frames):
                return f"{archive}: its weights must be those of its config: {error}"
    return None


def _jsonnet(error: BaseException, frames: list[_Frame]) -> Optional[str]:
    if not frames or frames[-1].module != "allennlp.common.params" or not isinstance(error, RuntimeError):
        return None
    kind, _, message = str(error).partition(" ERROR: ")
    if kind not in ("STATIC", "RUNTIME"):
        return None
    source = "the overrides (-o)" if frames[-1].function == "parse_overrides" else "the config"
    # The other lines of the message are the interpreter's traceback.
    return f"{source} must be JSON or Jsonnet, got: {message.splitlines()[0]}"


def _missing_gpu(error: BaseException, frames: list[_Frame]) -> Optional[str]:
    if any(frame[:2] == ("torch.cuda", "_lazy_init") for frame in frames):
        return f"PyTorch finds no GPU: {error}"
    return None


def _missing_package(error: BaseException, frames: list[_Frame]) -> Optional[str]:
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    for frame in frames:
        package = str(frame.variables.get("package_name", ""))
        if frame.function == "import_module_and_submodules" and f"{package}.".startswith(f"{error.name}."):
            return f"--include-package must be a package that Python finds, got {package}"
    return None


def _missing_ids(error: BaseException, frames: list[_Frame]) -> Optional[str]:
    if frames and frames[-1].function == "get_token_ids_from_text_field_tensors":
        return (
            "this model of AllenNLP needs the ids of words besides their characters: add a token indexer of the type `single_id` "
            "and, with the same name, a token embedder of the type `empty`"
        )
    return None


def _file(error: BaseException, frames: list[_Frame]) -> Optional[str]:
    if not isinstance(error, OSError):
        return None
    if any(frame[:2] == ("allennlp.common.params", "from_file") for frame in frames):
        return f"{error}; `elmo-plus config` lists the configs of this package and writes them to files"
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
