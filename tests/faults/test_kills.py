"""SIGKILL at random moments; `make soak` has the long form."""

from tests.faults.kills import kill_at_random
from tests.faults.recorder import read_losses
from tests.faults.runs import Run, assert_same_run

NUM_KILLS = 5


def test_a_run_killed_again_and_again_is_the_run_it_would_have_been(run: Run, whole: Run) -> None:
    assert kill_at_random(run, NUM_KILLS, seed=1) >= NUM_KILLS - 1
    assert_same_run(run, whole)
    assert len(read_losses(run.out)) > len(read_losses(whole.out))
