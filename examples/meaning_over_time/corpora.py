"""Make the corpora to compare: the petitions of each year, and halves of all of them in which the years are mixed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from allennlp_elmo_plus.data.text.raw.preparation import TRAIN_FILE, digest_of
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from examples.shared.commands import elmo_plus

YEARS = ("2017", "2019")


class Petition(NamedTuple):
    """The text of a petition, and the year in which it began."""

    year: str
    text: str


def read_petitions(folder: Path) -> list[Petition]:
    """Return the distinct petitions of `YEARS` in the `.jsonl` files of `folder`, but not those of the last file, by name.

    The biLM of `examples/petitions` has not read the last file.

    Raises:
        InputError: a year has no petition.
    """
    petitions = list(
        dict.fromkeys(petition for file in sorted(folder.glob("*.jsonl"))[:-1] for petition in _read(file))
    )
    for year in YEARS:
        if year not in {petition.year for petition in petitions}:
            raise InputError(
                f"`folder` must have petitions of {year} in files *.jsonl before the last one, got {folder}"
            )
    return petitions


def split_by_year(petitions: list[Petition]) -> dict[str, list[Petition]]:
    """Return the petitions of each year."""
    return {year: [petition for petition in petitions if petition.year == year] for year in YEARS}


def split_by_hash(petitions: list[Petition], number: int) -> dict[str, list[Petition]]:
    """Return two random halves of `petitions`: a hash of `number` and the text decides."""
    halves: dict[str, list[Petition]] = {"first": [], "second": []}
    for petition in petitions:
        halves["first" if digest_of(f"{number} {petition.text}") % 2 else "second"].append(petition)
    return halves


def prepare(petitions: list[Petition], directory: Path) -> None:
    """Write the sentences of `petitions` to `directory`, unless they are there."""
    # The file that is written last.
    if not (directory / TRAIN_FILE).exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        raw = directory.with_suffix(".jsonl")
        with atomic_path(raw) as path, path.open("w", encoding="utf-8") as file:
            for petition in petitions:
                file.write(json.dumps({"text": petition.text}, ensure_ascii=False) + "\n")
        elmo_plus("prepare", raw, directory, "--field", "text", "--overwrite", "--language", "xx", "--processes", 1)


def _read(file: Path) -> Iterator[Petition]:
    # JSON may hold other line ends than this one.
    for line in filter(None, file.read_text("utf-8").split("\n")):
        petition = json.loads(line)
        yield Petition(petition["begin"][:4], f"{petition['title']}\n\n{petition['content']}")
