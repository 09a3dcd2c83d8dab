"""What the processes of a training that runs in several must agree on. In a single process each function gives its own answer."""

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple, Optional, TypeVar

import numpy as np
import torch
import torch.distributed as dist

Item = TypeVar("Item", bound=Hashable)


class World(NamedTuple):
    """Process `rank` of `num_processes`."""

    rank: int
    num_processes: int


def world() -> World:
    """Which process this is, among those of `torch.distributed`."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World(0, 1)


def all_gather_object(value: Any) -> list[Any]:
    """The `value` of each process, by rank, in every process."""
    num_processes = world().num_processes
    if num_processes == 1:
        return [value]
    values: list[Any] = [None] * num_processes
    dist.all_gather_object(values, value)
    return values


def gather_object(value: Any, destinations: Iterable[int]) -> Optional[list[Any]]:
    """The `value` of each process, by rank, in the processes `destinations`; None in the others."""
    rank, num_processes = world()
    if num_processes == 1:
        return [value]
    result = None
    for destination in destinations:
        values: Optional[list[Any]] = [None] * num_processes if rank == destination else None
        dist.gather_object(value, values, dst=destination)
        result = values or result
    return result


def broadcast_object(value: Any) -> Any:
    """The `value` of process 0, in every process."""
    if world().num_processes == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def mean_of_all(value: float, device: torch.device) -> float:
    """Return the mean of each process's `value`, which goes over `device`, in every process."""
    num_processes = world().num_processes
    if num_processes == 1:
        return value
    total = torch.tensor(value, dtype=torch.double, device=device)
    dist.all_reduce(total)
    return total.item() / num_processes


def common_items(items: Iterable[Item]) -> set[Item]:
    """Those `items` that every process gives."""
    return set.intersection(*map(set, all_gather_object(set(items))))


def seed_of(seed: int, rank: int) -> int:
    """A seed for each process from the one that all were given; that one itself for process 0."""
    return int(np.random.SeedSequence([seed, rank]).generate_state(1, np.uint64)[0] >> 1) if rank else seed
