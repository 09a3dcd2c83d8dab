"""Compiling kernels ahead of their first use, in several processes at once, each of which stores its kernels on disk.

numba compiles one kernel at a time in a process, and takes seconds for a large one. The processes share one pipe that holds a byte for
each kernel to compile: a process that has finished a kernel reads the next byte. This module does not import PyTorch, which would make
each process start later.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Optional

from allennlp_elmo_plus.kernels.jit import Kernel

logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A kernel and the types of arguments that an operation calls the kernel with.

    A signature has a letter for each argument, and for an array, which is contiguous, the number of its dimensions. The letters: `f`
    float32, `d` float64, `i` int64, `n` int32, `w` uint32, `h` uint16, `b` boolean.
    """

    operation: str  # a key of `kernels.backend.TABLE`
    dtype: str  # of the operation's products: "float32" or "bfloat16"
    kernel: str  # module within `kernels` and name
    signatures: tuple[str, ...]

    def compile(self) -> None:
        """Compile the kernel and store it on disk, or load it from there."""
        for signature in self.signatures:
            self.get_kernel().compile(_types(signature))

    def is_stored(self) -> bool:
        """Return whether the kernel is on disk."""
        return all(self.get_kernel().is_stored(_types(signature)) for signature in self.signatures)

    def get_kernel(self) -> Kernel:
        """Return the kernel, which may not be compiled yet."""
        module, name = self.kernel.rsplit(".", 1)
        return getattr(import_module(f"allennlp_elmo_plus.kernels.{module}"), name)  # type: ignore[no-any-return]


# The kernels that take longest to compile come first, so that all processes end at about the same time.
ENTRIES = (
    Entry(
        "sampled_softmax", "float32", "softmax._numba_kernels.nll_and_gradients", ("f2 i1 b1 i1 i1 f2 f1 i1 d1 i b",)
    ),
    Entry(
        "sampled_softmax", "bfloat16", "softmax._numba_bfloat16.nll_and_gradients", ("f2 i1 b1 i1 i1 f2 f1 i1 d1 i b",)
    ),
    Entry(
        "lstm.loop",
        "float32",
        "lstm._numba_kernels.backward_steps",
        ("i2 f2 f2 f2 f2 f2 f3 f3 f3 f2 f2 f2 f2 f2 f2 f2 f1 f2 f f",),
    ),
    Entry(
        "lstm.loop",
        "bfloat16",
        "lstm._numba_kernels.backward_steps",
        ("i2 f2 f2 f2 f2 f2 w3 w3 w3 f2 f2 f2 f2 w2 f2 f2 f1 f2 f f",),
    ),
    Entry("lstm.loop", "float32", "lstm._numba_kernels.forward_steps", ("i2 f2 f3 f1 f3 f2 f2 f2 f2 f2 f f",)),
    Entry("lstm.loop", "bfloat16", "lstm._numba_kernels.forward_steps", ("i2 w2 w3 f1 w3 f2 f2 f2 f2 f2 f f",)),
    Entry("conv_max_pool.gemm", "float32", "char_conv._numba_kernels.conv_backward", ("f2 f3 f2 n2 i f2 f3",)),
    # The bias is packed in float32.
    Entry("lstm.loop", "bfloat16", "lstm._numba_kernels.pack_gates", ("h2", "f2")),
    Entry("conv_max_pool.gemm", "float32", "char_conv._numba_kernels.conv_forward", ("f2 f3 f1 i2 i1 i f2 n2",)),
    Entry("lstm.loop", "float32", "gemm._numba_kernels.pack_transposed", ("f2",)),
    Entry("lstm.loop", "bfloat16", "gemm._numba_kernels.pack_transposed", ("w2",)),
    Entry("lstm.loop", "bfloat16", "gemm._numba_kernels.multiply", ("w2 w3 f1 f2",)),
    Entry("lstm.loop", "bfloat16", "gemm._numba_kernels.transpose_halves", ("h2",)),
    Entry("lstm.loop", "float32", "lstm._numba_kernels.pack_gates", ("f2",)),
    Entry("lstm.loop", "float32", "gemm._numba_kernels.pack", ("f2",)),
    Entry("lstm.loop", "bfloat16", "gemm._numba_kernels.pack", ("h2",)),
    Entry("lstm.gates", "float32", "lstm._numba_gates.gates_forward", ("f2 f2 f2 f2 f i i i i",)),
    Entry("lstm.gates", "float32", "lstm._numba_gates.gates_backward", ("f2 f2 f2 f2 f2 f i i i i",)),
    Entry("sampled_softmax", "float32", "softmax._numba_kernels.first_out_of_range", ("i1 i",)),
    Entry("sampled_softmax", "bfloat16", "softmax._numba_kernels.first_out_of_range", ("i1 i",)),
    Entry("conv_max_pool.max", "float32", "char_conv._numba_kernels.embed_backward", ("i2 f2 f2",)),
    Entry("dropout", "float32", "dropout._numba_kernels.dropout", ("f1 f1 w w w f",)),
    Entry("adagrad", "float32", "adagrad._numba_kernels.update", ("f1 f1 f1 f f",)),
    Entry("adagrad", "float32", "adagrad._numba_kernels.update_rows", ("f2 i1 f2 f2 f f",)),
)


def missing_entries(operations: Mapping[str, str]) -> list[int]:
    """Return the indices in `ENTRIES` of the kernels that are not on disk.

    Args:
        operations: Operations that numba computes, keys of `kernels.backend.TABLE`, with the dtype of their products.
    """
    indices = [index for index, entry in enumerate(ENTRIES) if operations.get(entry.operation) == entry.dtype]
    try:
        return [index for index in indices if not ENTRIES[index].is_stored()]
    except ImportError:
        # Without numba another backend computes.
        return []


def storage_directory() -> Optional[Path]:
    """Return a directory in which compiled kernels are stored, or None where they cannot be stored."""
    return ENTRIES[0].get_kernel().directory


def compile_entries(indices: list[int], num_processes: int) -> None:
    """Compile kernels in at most `num_processes` processes, of which the calling process is one, and wait for all of them.

    A kernel that fails to compile, or whose process ends early, is compiled again at its first use, as any kernel that is not on disk.

    Args:
        indices: Indices in `ENTRIES`.
        num_processes: The number of processors.
    """
    readable, writable = os.pipe()
    os.write(writable, bytes(indices))
    os.close(writable)
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import compile_from_pipe; compile_from_pipe(0)"
    children: list[subprocess.Popen[Any]] = []
    try:
        with suppress(OSError):
            for _ in range(min(num_processes, len(indices)) - 1):
                command, nowhere = [sys.executable, "-c", code], subprocess.DEVNULL
                children.append(subprocess.Popen(command, stdin=readable, stdout=nowhere, stderr=nowhere))
        compile_from_pipe(readable)
        for child in children:
            child.wait()
    finally:
        os.close(readable)
        # After an interruption, children may still be compiling.
        for child in children:
            child.kill()
            child.wait()


def compile_from_pipe(readable: int) -> None:
    """Compile the kernels whose indices in `ENTRIES` the pipe `readable` holds, until the pipe is empty."""
    while index := os.read(readable, 1):
        entry = ENTRIES[index[0]]
        try:
            entry.compile()
        except Exception as error:
            logger.debug("%s was not compiled ahead: %s", entry.kernel, error)


def _types(signature: str) -> tuple[Any, ...]:
    from numba import types

    scalars = {
        "f": types.float32,
        "d": types.float64,
        "i": types.int64,
        "n": types.int32,
        "w": types.uint32,
        "h": types.uint16,
        "b": types.boolean,
    }
    return tuple(
        types.Array(scalars[letter], int(dimensions), "C") if dimensions else scalars[letter]
        for letter, dimensions in ((argument[0], argument[1:]) for argument in signature.split())
    )
