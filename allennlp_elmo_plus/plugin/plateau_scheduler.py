"""The learning rate scheduler "reduce_on_plateau" can be constructed with every release of PyTorch.

AllenNLP passes `verbose` to PyTorch's `ReduceLROnPlateau` (class ReduceOnPlateauLearningRateScheduler), which
no longer has it since PyTorch 2.7: a config with this scheduler would end in a `TypeError` before training. So this replaces the
constructor, with the same arguments.
"""

import inspect
from typing import Union

from allennlp.training.learning_rate_schedulers import pytorch_lr_schedulers
from allennlp.training.optimizers import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

_Wrapper = pytorch_lr_schedulers.ReduceOnPlateauLearningRateScheduler


def _construct(
    self: _Wrapper,  # type: ignore[valid-type]
    optimizer: Optimizer,
    mode: str = "min",
    factor: float = 0.1,
    patience: int = 10,
    verbose: bool = False,
    threshold_mode: str = "rel",
    threshold: float = 1e-4,
    cooldown: int = 0,
    min_lr: Union[float, list[float]] = 0,
    eps: float = 1e-8,
) -> None:
    scheduler = ReduceLROnPlateau(
        optimizer,
        mode=mode,  # type: ignore[arg-type]
        factor=factor,
        patience=patience,
        threshold=threshold,
        threshold_mode=threshold_mode,  # type: ignore[arg-type]
        cooldown=cooldown,
        min_lr=min_lr,
        eps=eps,
    )
    super(_Wrapper, self).__init__(scheduler)


if "verbose" not in inspect.signature(ReduceLROnPlateau).parameters:
    _Wrapper.__init__ = _construct
