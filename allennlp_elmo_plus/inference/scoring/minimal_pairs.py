"""Score minimal pairs: a model judges a pair rightly where the acceptable sentence is more probable than the unacceptable one."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from statistics import fmean
from typing import Any, NamedTuple

from torch import Tensor

from allennlp_elmo_plus.data.text.minimal_pairs import MinimalPair
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordScorer

FORWARD, BACKWARD, BOTH = "forward", "backward", "both"

# Equal probabilities that were computed in float32 differ by less than this part.
_TIE = 1e-6


class PairLogProbs(NamedTuple):
    """The log-probabilities of the two sentences of a pair, in nats."""

    acceptable: float
    unacceptable: float

    @property
    def correct(self) -> float:
        """Return 1 if the acceptable sentence is more probable, 0 if it is less probable, and 0.5 for a tie."""
        if math.isclose(*self, rel_tol=_TIE):
            return 0.5
        return float(self.acceptable > self.unacceptable)


class PairScore(NamedTuple):
    """A pair, the log-probabilities of its sentences by score, and its words that the vocabulary of the model lacks."""

    pair: MinimalPair
    log_probs: dict[str, PairLogProbs]  # FORWARD, BACKWARD and their sum BOTH; of a forward-only model FORWARD alone
    unknown_words: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the score as an object of JSON."""
        file, line, phenomenon, acceptable, unacceptable = self.pair
        return {
            "file": file,
            "line": line,
            "phenomenon": phenomenon,
            "acceptable": " ".join(acceptable),
            "unacceptable": " ".join(unacceptable),
            "unknown_words": self.unknown_words,
            **{
                name: {**log_probs._asdict(), "correct": log_probs.correct}
                for name, log_probs in self.log_probs.items()
            },
        }


class Accuracy(NamedTuple):
    """The share of right judgements, from 0 to 1, by score."""

    num_pairs: int
    correct: dict[str, float]


def score_pairs(scorer: WordScorer, pairs: Sequence[MinimalPair]) -> Iterator[PairScore]:
    """Yield the score of each of `pairs`, in their order.

    The log-probability of a sentence is the sum over its words and over its end, `</S>`, in the forward direction, or its beginning,
    `<S>`, in the backward direction. It is not divided by the number of words. A word that the vocabulary lacks counts as `<UNK>`.
    """
    log_probs = scorer.log_probs(chain.from_iterable((pair.acceptable, pair.unacceptable) for pair in pairs))
    for pair in pairs:
        acceptable, unacceptable = next(log_probs), next(log_probs)
        totals = {FORWARD: PairLogProbs(_total(acceptable.forward), _total(unacceptable.forward))}
        if acceptable.backward is not None and unacceptable.backward is not None:
            totals[BACKWARD] = PairLogProbs(_total(acceptable.backward), _total(unacceptable.backward))
            totals[BOTH] = PairLogProbs(*map(sum, zip(totals[FORWARD], totals[BACKWARD], strict=True)))
        words = dict.fromkeys((*pair.acceptable, *pair.unacceptable))
        yield PairScore(pair, totals, [word for word in words if not scorer.is_known(word)])


def _total(log_probs: Tensor) -> float:
    return float(log_probs.double().sum())


def accuracy_by_phenomenon(scores: Iterable[PairScore]) -> dict[str, Accuracy]:
    """Return the accuracy on the pairs of each phenomenon, in the order in which the phenomena come first in `scores`."""
    by_phenomenon: dict[str, list[PairScore]] = {}
    for score in scores:
        by_phenomenon.setdefault(score.pair.phenomenon, []).append(score)
    return {phenomenon: accuracy(group) for phenomenon, group in by_phenomenon.items()}


def accuracy(scores: Sequence[PairScore]) -> Accuracy:
    """Return the accuracy on all pairs of `scores`, at least one."""
    names = scores[0].log_probs
    return Accuracy(len(scores), {name: fmean(score.log_probs[name].correct for score in scores) for name in names})
