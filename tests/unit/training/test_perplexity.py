import math

import pytest

from allennlp_elmo_plus.training.perplexity import PerplexitySums


def test_the_perplexity_of_a_text_does_not_depend_on_its_batches() -> None:
    nlls = [0.5, 2.0, 3.5, 1.0, 0.25, 4.0, 2.5]
    backward = [nll * 0.7 for nll in nlls]
    for batch_sizes in ([7], [1, 6], [3, 3, 1]):
        sums, start = PerplexitySums(), 0
        for size in batch_sizes:
            sums.add(sum(nlls[start : start + size]), sum(backward[start : start + size]), size)
            start += size
        result = sums.perplexities()
        assert result.forward == pytest.approx(math.exp(sum(nlls) / 7), rel=1e-12)
        assert result.backward == pytest.approx(math.exp(sum(backward) / 7), rel=1e-12)
        assert result.both == pytest.approx(math.sqrt(result.forward * result.backward), rel=1e-12)


def test_a_forward_model_has_no_backward_perplexity() -> None:
    sums = PerplexitySums()
    sums.add(6.0, None, 3)
    assert sums.perplexities() == (math.exp(2), math.exp(2), None)


def test_the_perplexity_is_nan_without_targets_and_infinite_on_overflow() -> None:
    sums = PerplexitySums()
    assert math.isnan(sums.perplexities().both)
    sums.add(1000.0, 1.0, 1)
    assert sums.perplexities().forward == math.inf
    assert sums.perplexities().both == pytest.approx(math.exp(500.5))
