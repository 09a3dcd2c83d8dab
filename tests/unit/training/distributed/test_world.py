from typing import Any

import torch.distributed as dist

from allennlp_elmo_plus.training.distributed.world import (
    all_gather_object,
    broadcast_object,
    gather_object,
    seed_for_rank,
    world,
)
from tests.helpers.process_pool import ProcessPool


def ask() -> tuple[Any, ...]:
    rank = dist.get_rank()
    return (
        world(),
        all_gather_object(rank),
        gather_object(rank, [0, 2]),
        broadcast_object(f"of {rank}"),
    )


def test_what_processes_tell_each_other(processes: ProcessPool) -> None:
    for rank, answer in enumerate(processes.run(3, ask)):
        together = [0, 1, 2]
        assert answer == ((rank, 3), together, None if rank == 1 else together, "of 0")


def test_a_single_process_gives_its_own_answers() -> None:
    assert world() == (0, 1)
    assert all_gather_object("x") == ["x"] and gather_object("x", [0]) == ["x"]
    assert broadcast_object("x") == "x"


def test_seeds_differ_and_process_0_keeps_the_one_given() -> None:
    seeds = [seed_for_rank(seed, rank) for seed in (0, 133) for rank in range(50)]
    assert len(set(seeds)) == 100 and seeds[0] == 0 and seeds[50] == 133
    assert all(0 <= seed < 2**63 for seed in seeds)
