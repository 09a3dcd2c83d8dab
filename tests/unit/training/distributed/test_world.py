"""Objects and sums exchanged between processes."""

from typing import Any

import torch.distributed as dist

from allennlp_elmo_plus.training.distributed.world import (
    all_gather_object,
    broadcast_object,
    gather_object,
    seed_for_rank,
    world,
)
from tests.helpers.runs.process_pool import ProcessPool


def exchange_objects() -> tuple[Any, ...]:
    rank = dist.get_rank()
    return (
        world(),
        all_gather_object(rank),
        gather_object(rank, [0, 2]),
        broadcast_object(f"of {rank}"),
    )


def test_objects_are_gathered_and_broadcast(processes: ProcessPool) -> None:
    for rank, results in enumerate(processes.run(3, exchange_objects)):
        ranks = [0, 1, 2]
        assert results == ((rank, 3), ranks, None if rank == 1 else ranks, "of 0")


def test_a_single_process_gets_its_own_objects() -> None:
    assert world() == (0, 1)
    assert all_gather_object("x") == ["x"] and gather_object("x", [0]) == ["x"]
    assert broadcast_object("x") == "x"


def test_each_rank_has_another_seed_and_rank_0_keeps_the_original() -> None:
    seeds = [seed_for_rank(seed, rank) for seed in (0, 133) for rank in range(50)]
    assert len(set(seeds)) == 100 and seeds[0] == 0 and seeds[50] == 133
    assert all(0 <= seed < 2**63 for seed in seeds)
