"""The figures of a classifier."""

from collections.abc import Sequence

from sklearn.metrics import accuracy_score, f1_score


def measure(labels: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return the accuracy, and the F1 as the mean over the topics of `labels`, in per cent."""
    topics = sorted(set(labels))
    f1 = f1_score(labels, predicted, labels=topics, average="macro", zero_division=0)
    return {"accuracy": 100 * accuracy_score(labels, predicted), "F1": 100 * f1}


def named(part: str, figures: dict[str, float]) -> dict[str, float]:
    """Return `figures` with the prefix `dev_` where `part` is "dev"; those of the part "test" keep their names."""
    return {f"dev_{name}": value for name, value in figures.items()} if part == "dev" else figures
