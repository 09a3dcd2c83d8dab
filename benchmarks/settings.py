"""What a run of the benchmarks was asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional, TypeVar

from .peak_memory import PeakMemory, peak_in_this_process, peak_of
from .rounds import never_halted

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """
    quick: tiny sizes, whose figures mean nothing; rounds: how often each contender has its turn; scratch: an empty directory for
    texts and weights, removed after the run; num_tokens: size of the generated text, None for the benchmark's own;
    without_allennlp: whether AllenNLP's contenders are left out; text: a file to use in place of a generated one; halted: how many
    seconds of an interval the machine stood still.
    """

    quick: bool
    rounds: int
    scratch: Path
    num_tokens: Optional[int] = None
    without_allennlp: bool = False
    text: Optional[Path] = None
    halted: Callable[[float, float], float] = never_halted

    @property
    def min_seconds(self) -> float:
        """The least that a contender's turn lasts: short jobs run several times in it."""
        return 0.0 if self.quick else 1.0

    def size(self, full: T, quick: T) -> T:
        """`full`, or `quick` where only the shape of the result is of interest."""
        return quick if self.quick else full

    def tokens(self, full: int, quick: int) -> int:
        """Words of generated text: as asked for, else by size."""
        return self.num_tokens or self.size(full, quick)

    def peak_of(self, target: str, **arguments: Any) -> PeakMemory:
        """Peak memory of `target`, "module:function", in a child process, which is seconds to start; `quick`, without one."""
        # Not above: reading settings need not wait for PyTorch.
        import torch

        if self.quick:
            return peak_in_this_process(target, **arguments)
        return peak_of(target, torch.get_num_threads(), **arguments)

    def why_without_allennlp(self) -> Optional[str]:
        """One line saying why AllenNLP's contenders are left out; None where they take part."""
        if self.without_allennlp:
            return "AllenNLP's contender is left out, as asked for"
        if find_spec("allennlp") is None:
            return "AllenNLP's contender is left out: AllenNLP is not installed"
        return None
