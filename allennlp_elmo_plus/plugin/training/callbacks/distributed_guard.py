"""The protection of a distributed training against processes that differ, fail or hang."""

from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.training.checkpointer import Checkpointer

from allennlp_elmo_plus.training.distributed.heartbeat import Heartbeat, connect_to_store
from allennlp_elmo_plus.training.distributed.world import all_gather_object, seed_for_rank, world


class DistributedGuard:
    """Checks that all processes train on the same text, gives each its own random numbers, and ends all when one fails.

    AllenNLP alone gives every process the same dropout. Between `start` and `end` a heartbeat watches the processes, see
    `training.distributed.heartbeat`. All processes call both methods. A single process needs none of this: nothing happens.
    """

    def __init__(self) -> None:
        self._heartbeat: Optional[Heartbeat] = None

    def start(self, trainer: Any, identity: dict[str, Any]) -> None:
        """Check the processes, start the heartbeat and seed torch's generator. `identity` is the text and its arrangement, by name.

        Raises:
            ConfigurationError: where `identity` is not the same in all processes, or the checkpointer is not "bilm".
        """
        process = world()
        if process.num_processes == 1:
            return
        _check_processes(trainer, identity)
        store = connect_to_store()
        if store is not None:
            self._heartbeat = Heartbeat(store, *process)
            self._heartbeat.start()
        torch.manual_seed(seed_for_rank(torch.initial_seed(), process.rank))

    def end(self, error: Optional[BaseException]) -> None:
        """Stop the heartbeat; where `error` ends this process, end all other processes too.

        `error` then gets the attribute `first_error`, the line of the process that failed first, for `plugin.training.spawn`.
        """
        if self._heartbeat is None:
            return
        if error is None:
            self._heartbeat.stop()
        else:
            line = " ".join(f"process {world().rank} failed, {type(error).__name__}: {error}".split())
            first_error = self._heartbeat.fail(line)
            error.first_error = first_error  # type: ignore[attr-defined]


def _check_processes(trainer: Any, identity: dict[str, Any]) -> None:
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
