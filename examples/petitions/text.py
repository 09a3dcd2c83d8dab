"""The words of petitions: raw text for `elmo-plus prepare`, and labelled sentences of words for the classifiers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

from allennlp_elmo_plus.data.text.raw.preparation import digest_of, is_held_out
from allennlp_elmo_plus.data.text.raw.segmentation import Segmenter
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import atomic_path

WORDS = ("spaces", "morphemes")
PARTS = ("train", "dev", "test")
DEV_PERCENT = 15


class Petition(NamedTuple):
    """A petition: its topic, its month, and its paragraphs, of which the first is the title."""

    label: str
    month: str
    paragraphs: list[str]


def read_parts(folder: Path) -> dict[str, list[Petition]]:
    """Return the petitions in the `.jsonl` files of `folder`, those of the last file, in the order of names, as the part "test".

    A hash of the text decides whether a petition of another file belongs to "train" or "dev". A petition is left out of these two
    where an earlier one, or one of the part "test", has the same text, so that no text of "test" is seen before the test.

    Raises:
        InputError: `folder` has fewer than three files, or a line lacks a field.
    """
    files = sorted(folder.glob("*.jsonl"))
    if len(files) < 3:
        raise InputError(f"`folder` must have at least three files *.jsonl, got {len(files)} in {folder}")
    parts: dict[str, list[Petition]] = {part: [] for part in PARTS}
    parts["test"] = list(_read(files[-1]))
    seen = {_text(petition) for petition in parts["test"]}
    for petition in (petition for file in files[:-1] for petition in _read(file)):
        text = _text(petition)
        if text not in seen:
            seen.add(text)
            parts["dev" if is_held_out(digest_of(text), DEV_PERCENT) else "train"].append(petition)
    return parts


def write_words(folder: Path, words: str, directory: Path) -> None:
    """Write `raw.jsonl`, all text but that of "test", and a file of labelled petitions for each part to `directory`.

    Args:
        folder: The folder of the petitions.
        words: "spaces": spaCy's rules for any language, which end words at spaces and punctuation; or "morphemes": those of kiwipiepy.
        directory: The directory to write to. It is created if it is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    parts = read_parts(folder)
    if words == "morphemes":
        parts = {part: _in_morphemes(petitions) for part, petitions in parts.items()}
    language = language_of(words)
    with atomic_path(directory / "raw.jsonl") as path, path.open("w", encoding="utf-8") as file:
        for petition in parts["train"] + parts["dev"]:
            file.write(_json({"text": "\n\n".join(petition.paragraphs)}))
    segmenter = Segmenter(language)
    for part, petitions in parts.items():
        sentences = segmenter.split([petition.paragraphs for petition in petitions])
        with atomic_path(directory / f"{part}.jsonl") as path, path.open("w", encoding="utf-8") as file:
            for petition, lines in zip(petitions, sentences, strict=True):
                file.write(_json({"label": petition.label, "month": petition.month, "sentences": lines}))


def language_of(words: str) -> Optional[str]:
    """Return the language that splits the text, None where spaces between words do."""
    return "xx" if words == "spaces" else None


def _in_morphemes(petitions: list[Petition]) -> list[Petition]:
    from kiwipiepy import Kiwi

    kiwi = Kiwi(num_workers=1)
    return [
        petition._replace(
            paragraphs=[
                " ".join(token.form.replace(" ", "_") for token in kiwi.tokenize(text)) for text in petition.paragraphs
            ]
        )
        for petition in petitions
    ]


def _read(file: Path) -> Iterator[Petition]:
    # JSON may hold other line ends than this one.
    for number, line in enumerate(file.read_text("utf-8").split("\n"), 1):
        if not line:
            continue
        record = json.loads(line)
        for name in ("category", "title", "content"):
            if name not in record:
                raise InputError(f"{file}, line {number}: a petition must have the field {name!r}")
        if not (record["title"] + record["content"]).strip():
            continue
        yield Petition(record["category"], file.stem, [record["title"], *record["content"].split("\n\n")])


def _text(petition: Petition) -> str:
    return " ".join(" ".join(petition.paragraphs).split())


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
