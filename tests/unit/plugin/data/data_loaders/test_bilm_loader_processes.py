"""The data loader `bilm` in several processes, which read different lanes of the same windows."""

import pytest
import torch


def streams_of(loader):
    """Return the targets that each lane reads, and the negatives of each batch."""
    batches = [batch["batch"] for batch in loader]
    lanes = [[] for _ in batches[0].lengths]
    for batch in batches:
        for row, length in enumerate(batch.lengths.tolist()):
            lanes[row] += batch.forward_targets[row, :length].tolist()
    return lanes, [batch.forward_negatives.ids.tolist() for batch in batches]


# Forty processes have more lanes than the text has sentences.
@pytest.mark.parametrize("num_processes", [2, 3, 40])
@pytest.mark.parametrize("shared", [True, False])
def test_processes_read_the_lanes_of_a_single_process(make_loader, set_process, num_processes, shared):
    options = {"n_negative_samples_batch": 4, "shared_negatives": shared}
    all_lanes, expected_negatives = streams_of(make_loader(batch_size=2 * num_processes, **options))
    for rank in range(num_processes):
        set_process(rank, num_processes)
        loader = make_loader(batch_size=2, **options)
        assert len(loader) == len(expected_negatives)
        lanes, negatives = streams_of(loader)
        assert lanes == all_lanes[rank::num_processes]
        # Process 0 always draws the negatives of a single process.
        assert (negatives == expected_negatives) == (shared or rank == 0)


def test_every_process_reads_all_lanes_of_a_held_out_text(make_loader, set_process):
    options = {"shuffle": False, "n_negative_samples_batch": 4}
    expected = streams_of(make_loader(**options))
    set_process(1, 2)
    with torch.no_grad():
        loader = make_loader(**options)
        assert len(loader) == len(expected[1])
        assert streams_of(loader) == expected
    assert streams_of(make_loader(**options)) != expected
