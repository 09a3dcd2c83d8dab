"""The parts of the benchmark `quality`: windows, the exact perplexity, and the race."""

import math
from itertools import islice
from pathlib import Path

import pytest
import torch

from allennlp_elmo_plus.kernels import precision
from benchmarks.measurement.settings import Settings
from benchmarks.quality import Learner, _ours, held_out_windows, race, read_text, running_windows, training_windows
from benchmarks.workloads.model_sizes import tiny
from benchmarks.workloads.sample_text import write_text


@pytest.fixture
def text(tmp_path):
    write_text(tmp_path / "text.txt", 4_000)
    return read_text(tmp_path / "text.txt", tmp_path, num_lanes=4)


def test_every_tenth_line_is_held_out(tmp_path):
    (tmp_path / "text.txt").write_text("".join(f"line {n}\n" for n in range(1, 31)))
    read_text(tmp_path / "text.txt", tmp_path, num_lanes=4)
    assert (tmp_path / "held_out.txt").read_text().split() == ["line", "10", "line", "20", "line", "30"]
    assert len((tmp_path / "train.txt").read_text().splitlines()) == 27


def test_running_windows_name_the_words_after_and_before(text):
    windows = list(islice(training_windows(text, 8), 3))
    running = list(running_windows(iter(windows)))
    inputs = torch.cat([window.word_ids[window.forward_inputs] for window in windows], dim=1)
    after = torch.cat([targets for _, targets, _ in running], dim=1)
    before = torch.cat([targets for _, _, targets in running], dim=1)
    assert torch.equal(before[:, 1:], inputs[:, :-1])
    # A target that the next input does not repeat is the end of a sentence.
    end_of_sentence = 1
    assert bool(((after[:, :-1] == inputs[:, 1:]) | (after[:, :-1] == end_of_sentence)).all())
    assert torch.equal(running[0][0], windows[0].characters[windows[0].forward_inputs].long())


@pytest.mark.parametrize("has_bfloat16", [False, True])
def test_bfloat16_means_float32_where_the_processor_has_no_instructions_for_it(text, monkeypatch, has_bfloat16):
    monkeypatch.setattr(precision, "_processor_has_bfloat16", lambda: has_bfloat16)
    losses = []
    for bfloat16 in (False, True):
        torch.manual_seed(1)
        job = _ours("ours", tiny(), text, bfloat16=bfloat16).train.__self__
        for parameter in job.model.parameters():
            parameter.data.mul_(2)
        losses.append([job.step() for _ in range(3)])
    assert (losses[0] != losses[1]) == has_bfloat16


def test_the_perplexity_of_a_model_with_equal_guesses_is_the_size_of_the_vocabulary(text):
    learner = _ours("ours", tiny(), text, bfloat16=False)
    job = learner.train.__self__
    torch.nn.init.zeros_(job.model.softmax.weight)
    torch.nn.init.zeros_(job.model.softmax.bias)
    assert held_out_windows(text)
    assert math.isclose(learner.perplexity(), text.vocab_size, rel_tol=1e-5)
    assert job.model.training


def test_a_contender_is_stopped_at_the_perplexity_or_after_the_last_step():
    steps = {"fast": 0, "slow": 0}

    def learner(name, start, gain):
        def train():
            steps[name] += 1

        return Learner(name, train, lambda: start - gain * steps[name])

    settings = Settings(quick=True, rounds=1, scratch=Path())
    fast, slow = race([learner("fast", 300, 10), learner("slow", 300, 1)], 250, 2, 20, settings)
    assert steps == {"fast": 6, "slow": 20}
    assert fast.remark.startswith("240 after 6 steps") and slow.remark.startswith("not reached: 280 after 20 steps")
    assert slow.ratio == pytest.approx(slow.seconds[0] / fast.seconds[0])
