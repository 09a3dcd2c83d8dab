"""The type of matrix products, which is the user's choice: float32, or bfloat16 where that is faster."""

import logging
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.processor import instruction_sets

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "bf16")


def check_precision(precision: str) -> str:
    """Return `precision`.

    Raises:
        InputError: It is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise InputError(f'`precision` must be "fp32" or "bf16", got "{precision}"')
    return precision


def products_in(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which matrix products on `device` are in `precision`; "fp32" leaves an outer autocast as it is.

    A processor without instructions for bfloat16 would take several times as long: there "bf16" means float32, and the log says so
    once.
    """
    dtype = products_dtype(precision, device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def products_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products of float32 weights under `products_in`."""
    if precision == "fp32" or (device.type == "cpu" and not _processor_has_bfloat16()):
        return torch.float32
    return torch.bfloat16


@cache
def _processor_has_bfloat16() -> bool:
    if "avx512bf16" in instruction_sets():
        return True
    logger.info("this processor does not multiply in bfloat16: all products are in float32, which is faster here")
    return False
