"""The settings of a run of the benchmarks."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional, TypeVar

from .peak_memory import PeakMemory, peak_in_this_process, peak_of
from .rounds import no_steal_time

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """
    The settings of a run.

    Attributes:
        quick: Use tiny sizes, whose figures mean nothing.
        rounds: The number of turns of each contender.
        scratch: An empty directory for texts and weights, removed after the run.
        num_tokens: The size of the generated text; None: each benchmark's own size.
        without_allennlp: Omit AllenNLP's contenders.
        text: A file to use instead of a generated text.
        steal_time: Returns the seconds of an interval in which the machine was stopped.
    """

    quick: bool
    rounds: int
    scratch: Path
    num_tokens: Optional[int] = None
    without_allennlp: bool = False
    text: Optional[Path] = None
    steal_time: Callable[[float, float], float] = no_steal_time

    @property
    def min_seconds(self) -> float:
        """Minimum duration of a turn; short jobs run several times in a turn."""
        return 0.0 if self.quick else 1.0

    def size(self, full: T, quick: T) -> T:
        """Return `full`, or `quick` for a quick run."""
        return quick if self.quick else full

    def tokens(self, full: int, quick: int) -> int:
        """Return the number of words of generated text: `num_tokens` if given, else by size."""
        return self.num_tokens or self.size(full, quick)

    def peak_of(self, target: str, **arguments: Any) -> PeakMemory:
        """Return the peak memory of `target`, "module:function", in a child process, or for a quick run in this one."""
        # Imported here, so that reading settings does not wait for PyTorch.
        import torch

        if self.quick:
            return peak_in_this_process(target, **arguments)
        return peak_of(target, torch.get_num_threads(), **arguments)

    def why_without_allennlp(self) -> Optional[str]:
        """Return one line with the reason why AllenNLP's contenders are left out, or None."""
        if self.without_allennlp:
            return "AllenNLP's contender is left out, as requested"
        if find_spec("allennlp") is None:
            return "AllenNLP's contender is left out: AllenNLP is not installed"
        return None
