"""PyTorch's flags for reduced-precision sums, recorded at each matrix product of bfloat16 factors."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

FLAGS = "allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction"


class FlagsOfProducts(TorchDispatchMode):
    """While active, record both flags at each matrix product of bfloat16 factors."""

    def __init__(self) -> None:
        super().__init__()
        self.flags: list[tuple[bool, ...]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.overloadpacket.__name__ in ("mm", "addmm", "bmm", "baddbmm", "addmm_", "baddbmm_"):
            if all(arg.dtype == torch.bfloat16 for arg in args if isinstance(arg, Tensor)):
                self.flags.append(flags())
        return func(*args, **(kwargs or {}))


def flags() -> tuple[bool, ...]:
    return tuple(getattr(torch.backends.cuda.matmul, name) for name in FLAGS)
