"""Compiling functions on arrays with numba, and what a failure to compile raises."""

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Optional

from allennlp_elmo_plus.kernels.processor import instruction_sets

logger = logging.getLogger(__name__)

# Fused multiply-add and reciprocals change the last bit. Values may be infinite or NaN, so NaN stays NaN.
FAST_MATH = {"contract", "arcp", "nsz"}


class KernelUnavailableError(RuntimeError):
    """A kernel could not be imported or compiled. Nothing was computed; another backend can compute the same."""


class Kernel:
    """A function that numba compiles at its first call. It runs without Python's lock.

    The compiled code is kept on disk: beside the source where that folder is writable, otherwise in the user's cache directory. It
    is compiled again when any file of `kernels/` has changed, because a kernel contains the code of the functions that it calls.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        import numba

        _log_compilations()
        options: dict[str, Any] = {"nogil": True, "fastmath": FAST_MATH, "error_model": "numpy"}
        self.__doc__ = function.__doc__
        self._name = f"{function.__module__}.{function.__qualname__}"
        try:
            self._dispatcher = numba.njit(cache=True, **options)(function)
            _secure(self._dispatcher._cache._cache_file)
        except (RuntimeError, AttributeError):
            # No writable directory, or a numba that keeps its files in another way: compiled anew in each process.
            self._dispatcher = numba.njit(**options)(function)

    def __call__(self, *arguments: Any) -> Any:
        """Return the function's result.

        Raises:
            KernelUnavailableError: The first call with arguments of these types fails to compile. No argument was changed.
        """
        try:
            return self._dispatcher(*arguments)
        except Exception as error:
            # A kernel may be compiled for float32, and fail to compile for bfloat16.
            types = tuple(map(self._dispatcher.typeof_pyval, arguments))
            if types in self._dispatcher.overloads:
                if isinstance(error, OSError):
                    # Compiled, but the disk is full.
                    logger.warning("the compiled kernel %s cannot be stored: %s", self._name, error)
                    return self._dispatcher(*arguments)
                raise
            raise KernelUnavailableError(f"{self._name}: {type(error).__name__}: {error}") from error

    def compile(self, types: tuple[Any, ...]) -> None:
        """Compile the function for arguments of numba's `types` and store it on disk, or load it from there."""
        self._dispatcher.compile(types)

    def is_stored(self, types: tuple[Any, ...]) -> bool:
        """Return whether the function for arguments of numba's `types` is on disk, or cannot be stored there."""
        try:
            cache, codegen = self._dispatcher._cache, self._dispatcher.targetctx.codegen()
            return cache._index_key(types, codegen) in cache._cache_file._load_index()
        except (AttributeError, OSError):
            return True

    @property
    def directory(self) -> Optional[Path]:
        """Return the directory of the compiled code, or None where the function cannot be stored."""
        path = self._dispatcher._cache.cache_path
        return None if path is None else Path(path)


def jit(function: Callable[..., Any]) -> Kernel:
    """Return `function` as a compiled kernel that Python code calls. Use as a decorator."""
    return Kernel(function)


def jit_inline(function: Callable[..., Any]) -> Any:
    """Return `function` for kernels to call; it becomes part of each kernel. Use as a decorator.

    A function that is only linked to a kernel is optimized together with the kernel when both are compiled, but not when one of the
    two is loaded from disk. The last bits of a training would then differ from run to run.
    """
    import numba

    return numba.njit(inline="always", fastmath=FAST_MATH, error_model="numpy")(function)


@cache
def sources_digest() -> str:
    """Return a hash of all source files of `kernels/`."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _secure(files: Any) -> None:
    """Have numba's `files` of a kernel hold code of these sources only, and count a damaged file as missing.

    numba compares the time stamp of the function's own file only, and knows nothing of permissions. It writes the index before the code:
    where the code cannot be written, the index would name that of earlier sources. The files of earlier sources stay.
    """
    import numba

    stamp = sources_digest(), instruction_sets()
    name = hashlib.sha256(repr((numba.__version__, stamp[0], sorted(stamp[1]))).encode()).hexdigest()[:16]
    files._source_stamp = stamp
    files._data_name_pattern = files._data_name_pattern.replace("{number", f"{name}.{{number")
    files._load_index = _or_if_damaged(files._load_index, dict)
    files.load = _or_if_damaged(files.load, lambda: None)


def _or_if_damaged(read: Callable[..., Any], otherwise: Callable[[], Any]) -> Callable[..., Any]:
    def read_or(*arguments: Any) -> Any:
        try:
            return read(*arguments)
        except OSError:
            raise
        # Of a pickle that is cut or damaged: any error.
        except Exception:
            return otherwise()

    return read_or


@cache
def _log_compilations() -> None:
    """Have numba log once that kernels of this package are compiled: the first batch waits for them."""
    from numba.core import event

    class FirstCompilation(event.Listener):
        is_logged = False

        def on_start(self, start: event.Event) -> None:
            is_ours = start.data["dispatcher"].py_func.__module__.startswith(__package__)
            if is_ours and not self.is_logged:
                self.is_logged = True
                logger.info("compiling kernels for this processor, about half a minute; later runs load them from disk")

        def on_end(self, end: event.Event) -> None:
            pass

    event.register("numba:compile", FirstCompilation())
