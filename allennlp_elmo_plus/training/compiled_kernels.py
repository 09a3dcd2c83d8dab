"""Compiling the kernels of a training before its first batch."""

import logging
from contextlib import ExitStack, closing
from functools import partial

import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.backend import candidates, is_packed_bfloat16
from allennlp_elmo_plus.kernels.compile import compile_entries, missing_entries, storage_directory
from allennlp_elmo_plus.kernels.processor import num_usable_cores
from allennlp_elmo_plus.kernels.threads import run_in_threads, take_threads
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.file_lock import open_locked

logger = logging.getLogger(__name__)

LOCK_FILE = "elmo_plus_compilation.lock"


def compile_training_kernels(
    options: BiLMOptions, num_rows: int, num_steps: int, products_dtype: torch.dtype, device: torch.device
) -> None:
    """Compile the kernels of a training step that are not on disk, on all processors, and wait until they are there.

    Where another process compiles the same kernels, this process waits for the other one.

    Args:
        options: The model.
        num_rows: B.
        num_steps: T.
        products_dtype: The dtype of the matrix products: float32 or bfloat16.
        device: The device of the model. Without numba or on a GPU, nothing is compiled.
    """
    if device.type != "cpu":
        return
    operations = compiled_operations(options, num_rows, num_steps, products_dtype)
    if not missing_entries(operations):
        return
    with ExitStack() as stack:
        directory = storage_directory()
        if directory is not None:
            try:
                stack.enter_context(closing(open_locked(directory / LOCK_FILE, wait=True)))
            except InputError as error:
                logger.debug("kernels are compiled without a lock: %s", error)
        missing = missing_entries(operations)
        if missing:
            compile_entries(missing, num_usable_cores())


def compiled_operations(
    options: BiLMOptions, num_rows: int, num_steps: int, products_dtype: torch.dtype
) -> dict[str, str]:
    """Return the operations of a training step that numba computes on this process's threads, with the dtype of their products."""
    take_threads()
    # The threads of both directions have another number of threads than the calling one.
    tasks = [partial(_operations_of_thread, options, num_rows, num_steps, products_dtype)] * (1 + options.bidirectional)
    return run_in_threads(tasks, torch.device("cpu"))[0]


def _operations_of_thread(
    options: BiLMOptions, num_rows: int, num_steps: int, products_dtype: torch.dtype
) -> dict[str, str]:
    size, width = options.lstm.dim, options.lstm.projection_dim
    like = torch.empty(0)

    def is_compiled(operation: str, **sizes: int) -> bool:
        return next(candidates(operation, like, **sizes)) == "numba"

    def product_sizes(*inner_sizes: int) -> dict[str, int]:
        is_packed = is_packed_bfloat16(products_dtype, *inner_sizes)
        return {"has_one_dtype": int(products_dtype == like.dtype), "is_packed_bfloat16": int(is_packed)}

    products = "float32" if products_dtype == like.dtype else "bfloat16"
    operations = {}
    if options.lstm.cell_key == "lstm":
        sizes = {"kernel_values": 8 * width * size, "rows": num_rows, "tokens": num_rows * num_steps}
        if is_compiled("lstm.loop", **sizes, **product_sizes(width, size)):
            operations["lstm.loop"] = products
        elif is_compiled("lstm.gates"):
            operations["lstm.gates"] = "float32"
    if options.sample_softmax and is_compiled(
        "sampled_softmax", **product_sizes(width, options.n_negative_samples_batch)
    ):
        operations["sampled_softmax"] = products
    if options.char_cnn is not None:
        operations |= {name: "float32" for name in ("conv_max_pool.gemm", "conv_max_pool.max") if is_compiled(name)}
    if options.dropout and is_compiled("dropout", num_values=num_rows * num_steps * width):
        operations["dropout"] = "float32"
    if is_compiled("adagrad", is_contiguous=True):
        operations["adagrad"] = "float32"
    return operations
