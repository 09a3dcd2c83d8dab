"""What the processes of a distributed training do for each other from its beginning to its end."""

from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.training.checkpointer import Checkpointer

from allennlp_elmo_plus.training.distributed.heartbeat import Heartbeat, store_of_processes
from allennlp_elmo_plus.training.distributed.world import all_gather_object, seed_of, world


class DistributedGuard:
    """Of `torch.distributed`, which has been initialised: `start` makes sure that all processes train on the same and gives each of
    them random numbers of its own, for dropout, where AllenNLP gives all the same; until `end` a process that fails or is gone
    ends them all, see `training.distributed.heartbeat`. All processes call them together. Where there is one process alone,
    nothing happens.
    """

    def __init__(self) -> None:
        self._heartbeat: Optional[Heartbeat] = None

    def start(self, trainer: Any, identity: dict[str, Any]) -> None:
        """Raises `ConfigurationError` where `identity` is not the same everywhere, or the checkpointer is not "bilm"."""
        process = world()
        if process.num_processes == 1:
            return
        _check(trainer, identity)
        store = store_of_processes()
        if store is not None:
            self._heartbeat = Heartbeat(store, *process)
            self._heartbeat.start()
        torch.manual_seed(seed_of(torch.initial_seed(), process.rank))

    def end(self, error: Optional[BaseException]) -> None:
        """Ends the watch; all other processes end too where it is an `error` that ends this one."""
        if self._heartbeat is None:
            return
        if error is None:
            self._heartbeat.stop()
        else:
            self._heartbeat.fail(f"process {world().rank} failed, {type(error).__name__}: {error}")


def _check(trainer: Any, identity: dict[str, Any]) -> None:
    if not isinstance(trainer._checkpointer, (Checkpointer.by_name("bilm"), type(None))):
        raise ConfigurationError(
            'the callback "bilm" needs the checkpointer "bilm" in distributed training, '
            f"got a {type(trainer._checkpointer).__name__}"
        )
    first, *others = all_gather_object(identity)
    for rank, other in enumerate(others, start=1):
        for name, value in other.items():
            if value != first[name]:
                raise ConfigurationError(
                    f"all processes must train on the same text in the same layout, got another {name} in process {rank} "
                    f"than in process 0: {value} and {first[name]}"
                )
