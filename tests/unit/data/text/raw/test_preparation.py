"""Training text and held-out text from documents."""

import random
from pathlib import Path

import pytest

from allennlp_elmo_plus.data.text.raw.preparation import PartCounts, digest_of, is_held_out, prepare
from allennlp_elmo_plus.errors import InputError

pytest.importorskip("spacy")

DOCUMENTS = [[f"It rains for {number} days.", "Then it snows."] for number in range(200)]


def written(directory: Path) -> tuple[list[str], list[str]]:
    """Return the lines of the two texts."""
    train, heldout = ((directory / name).read_text("utf-8").splitlines() for name in ("train.txt", "heldout.txt"))
    return train, heldout


def test_each_document_is_written_once_to_one_of_two_texts(tmp_path: Path) -> None:
    counts = prepare(
        [*DOCUMENTS, [], DOCUMENTS[7], ["It rains for 8 days. Then it snows."]], tmp_path / "data", "en", 20
    )
    train, heldout = written(tmp_path / "data")
    assert (counts.num_documents, counts.num_duplicates, counts.num_empty) == (203, 2, 1)
    assert train[1::2] + heldout[1::2] == ["Then it snows ."] * 200
    assert sorted(train[::2] + heldout[::2]) == sorted(f"It rains for {number} days ." for number in range(200))
    assert counts.heldout == PartCounts(len(heldout) // 2, len(heldout), 5 * len(heldout))
    assert counts.train == PartCounts(200 - len(heldout) // 2, len(train), 5 * len(train))
    assert 0.1 < len(heldout) / 400 < 0.3


def test_the_split_does_not_depend_on_order_or_other_documents(tmp_path: Path) -> None:
    prepare(DOCUMENTS, tmp_path / "all", "en")
    shuffled = random.Random(0).sample(DOCUMENTS, 150)
    prepare(shuffled, tmp_path / "some", "en")
    (train, heldout), (some_train, some_heldout) = written(tmp_path / "all"), written(tmp_path / "some")
    assert set(some_train) < set(train)
    assert set(some_heldout) <= set(heldout)
    # A changed hash would mix an old training text with a new held-out text.
    assert digest_of("It rains .") == 13222284065817546790
    assert [is_held_out(digest, 50) for digest in (0, 2**63 - 1, 2**63)] == [True, True, False]


@pytest.mark.slow
def test_several_processes_write_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allennlp_elmo_plus.data.text.raw.preparation._BATCH_CHARACTERS", 400)
    expected = prepare(DOCUMENTS, tmp_path / "one", "en")
    assert prepare(DOCUMENTS, tmp_path / "two", "en", num_processes=2) == expected
    assert written(tmp_path / "two") == written(tmp_path / "one")


def test_existing_files_are_replaced_only_if_told(tmp_path: Path) -> None:
    (tmp_path / "heldout.txt").write_text("old\n")
    with pytest.raises(
        InputError, match="heldout.txt exists already: choose another directory, or replace it with `--overwrite`"
    ):
        prepare(DOCUMENTS, tmp_path, "en")
    assert [path.name for path in tmp_path.iterdir()] == ["heldout.txt"]
    prepare(DOCUMENTS, tmp_path, "en", overwrite=True)
    assert written(tmp_path)[1] != ["old"]


@pytest.mark.parametrize(
    ("documents", "percent", "message"),
    [
        ([], 5, "the raw text must have at least one word, got none"),
        ([[]], 5, "the raw text must have at least one word, got none"),
        (DOCUMENTS[:3], 0.001, "heldout.txt would be empty with `--heldout-percent` 0.001: .* more documents, got 3; if each line of"),
        (DOCUMENTS[:3], 99.999, "train.txt would be empty with `--heldout-percent` 99.999"),
        (DOCUMENTS, 0, "`--heldout-percent` must be above 0 and below 100, got 0"),
        (DOCUMENTS, 100, "`--heldout-percent` must be above 0 and below 100, got 100"),
        (DOCUMENTS, float("nan"), "`--heldout-percent` must be above 0 and below 100, got nan"),
    ],
)  # fmt: skip
def test_nothing_is_written_if_a_text_would_be_empty(
    tmp_path: Path, documents: list[list[str]], percent: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare(documents, tmp_path, "en", percent)
    assert list(tmp_path.iterdir()) == []
