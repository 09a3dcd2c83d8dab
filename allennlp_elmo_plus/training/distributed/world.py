"""Collectives over the processes of `torch.distributed`. In a single process each function returns its own value."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
import torch.distributed as dist


class World(NamedTuple):
    """The rank of this process, and the number of processes."""

    rank: int
    num_processes: int


def world() -> World:
    """Return the rank of this process in `torch.distributed`; rank 0 of 1 without `torch.distributed`."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World(0, 1)


def all_gather_object(value: Any) -> list[Any]:
    """Return the `value` of each process, by rank, in every process."""
    num_processes = world().num_processes
    if num_processes == 1:
        return [value]
    values: list[Any] = [None] * num_processes
    dist.all_gather_object(values, value)
    return values


def gather_object(value: Any, destinations: Iterable[int]) -> Optional[list[Any]]:
    """Return the `value` of each process, by rank, in the processes of the ranks `destinations`; None in other processes."""
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
    """Return the `value` of process 0 in every process."""
    if world().num_processes == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def all_reduce_mean(value: float, device: torch.device) -> float:
    """Return the mean over all processes of `value`, via `device`, in every process."""
    num_processes = world().num_processes
    if num_processes == 1:
        return value
    total = torch.tensor(value, dtype=torch.double, device=device)
    dist.all_reduce(total)
    return total.item() / num_processes


def seed_for_rank(seed: int, rank: int) -> int:
    """Return the seed of process `rank`, derived from the common `seed`; for process 0 it is `seed` itself."""
    return int(np.random.SeedSequence([seed, rank]).generate_state(1, np.uint64)[0] >> 1) if rank else seed
