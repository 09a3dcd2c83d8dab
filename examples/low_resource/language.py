"""The files of one language, found by their names, and the data of the tasks as AllenNLP's readers need it."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from allennlp_elmo_plus.data.text.conll import CONLL2003, read_tagged_sentences
from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.errors import InputError

PARTS = ("train", "dev", "test")

# Where the data has no development part, every tenth sentence of the training part is in it.
_DEV_INTERVAL = 10


class Language(NamedTuple):
    """The files of a language. `treebank` and `names` hold a file for each of `PARTS`; a kind of data that is missing is empty."""

    name: str
    text: Path
    heldout: Path
    treebank: dict[str, Path]
    names: dict[str, Path]

    def task_sentences(self) -> set[tuple[str, ...]]:
        """Return the words of all sentences of the treebank and of the data of names."""
        sentences = {_words(block, "\t", 1) for path in self.treebank.values() for block in _blocks(path)}
        return sentences | {_words(block, " ", 0) for path in self.names.values() for block in _blocks(path)}

    def task_words(self) -> set[str]:
        """Return all words of the treebank and of the data of names."""
        return {word for sentence in self.task_sentences() for word in sentence}

    def num_words(self) -> int:
        """Return the number of words of the training text."""
        return sum(map(len, iter_sentences(self.text)))


def read_language(folder: Path, work: Path) -> Language:
    """Return the files of the language in `folder`; the data of its tasks is written into the directory `work`.

    The files are recognized by the ends of their names, each also with `.gz`: `train.txt` and `heldout.txt`; `-ud-train.conllu`,
    `-ud-dev.conllu` and `-ud-test.conllu`; `_train.bio`, `_dev.bio` and `_test.bio`, which have a word and, in the last column, its tag.
    A kind of data without a training or a test part is missing.

    Raises:
        InputError: where the text is missing, or where two files have the same role.
    """
    text, heldout = _find(folder, "train.txt"), _find(folder, "heldout.txt")
    if text is None or heldout is None:
        raise InputError(f"{folder}: must have the files train.txt and heldout.txt, each also with .gz")
    work.mkdir(parents=True, exist_ok=True)
    treebank: dict[str, list[list[str]]] = {}
    names: dict[str, list[list[str]]] = {}
    for part in PARTS:
        if path := _find(folder, f"*-ud-{part}.conllu"):
            treebank[part] = _read_treebank(path)
        if path := _find(folder, f"*_{part}.bio"):
            names[part] = _read_names(path)
    return Language(
        folder.resolve().name, text, heldout, _write(treebank, work, "conllu"), _write(names, work, "conll")
    )


def to_bioul(tags: Sequence[str]) -> list[str]:
    """Return the `tags` of a sentence in BIOUL: first (B), inner (I) and last word (L) of a name, or its only word (U), or none (O).

    The tags may be in BIOUL themselves, in BIO, or in IOB1, where B marks only a name that follows another of its kind.

    Raises:
        InputError: a tag is in none of these schemes.
    """
    for tag in tags:
        if tag != "O" and tag[:2] not in ("B-", "I-", "U-", "L-"):
            raise InputError(f"a tag must be O, or begin with B-, I-, U- or L-, got {tag}")
    starts = [tag[0] in "BU" or before[2:] != tag[2:] for before, tag in zip(["O", *tags], tags)]
    ends = [after == "O" or is_start for after, is_start in zip([*tags[1:], "O"], [*starts[1:], True])]
    letters = {(True, True): "U", (True, False): "B", (False, True): "L", (False, False): "I"}
    return ["O" if tag == "O" else letters[start, end] + tag[1:] for tag, start, end in zip(tags, starts, ends)]


def _find(folder: Path, pattern: str) -> Optional[Path]:
    paths = sorted({*folder.glob(pattern), *folder.glob(f"{pattern}.gz")})
    if len(paths) > 1:
        raise InputError(f"{folder}: must have one file {pattern}, got {', '.join(path.name for path in paths)}")
    return paths[0] if paths else None


def _read_treebank(path: Path) -> list[list[str]]:
    """Return the lines of each sentence's words. A space within a word becomes `_`, since files of vectors have no such words."""
    sentences: list[list[str]] = []
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for block in file.read().split("\n\n"):
            rows = [line.split("\t") for line in block.splitlines() if not line.startswith("#")]
            # Multiword tokens have an id such as 3-4, empty nodes one such as 8.1.
            words = [[row[0], row[1].replace(" ", "_"), *row[2:]] for row in rows if row[0].isdecimal()]
            if words:
                sentences.append(["\t".join(row) for row in words])
    return sentences


def _read_names(path: Path) -> list[list[str]]:
    sentences = read_tagged_sentences(path, CONLL2003, tag_column=-1)
    return [[f"{word} {tag}" for word, tag in zip(sentence.words, to_bioul(sentence.tags))] for sentence in sentences]


def _write(parts: dict[str, list[list[str]]], work: Path, suffix: str) -> dict[str, Path]:
    if "train" not in parts or "test" not in parts:
        return {}
    if "dev" not in parts:
        train = parts["train"]
        parts = {**parts, "dev": train[::_DEV_INTERVAL]}
        parts["train"] = [sentence for number, sentence in enumerate(train) if number % _DEV_INTERVAL]
    paths = {part: work / f"{part}.{suffix}" for part in PARTS}
    for part, path in paths.items():
        path.write_text("".join("\n".join(sentence) + "\n\n" for sentence in parts[part]), encoding="utf-8")
    return paths


def _blocks(path: Path) -> Iterator[str]:
    return filter(None, path.read_text("utf-8").split("\n\n"))


def _words(block: str, separator: str, column: int) -> tuple[str, ...]:
    return tuple(line.split(separator)[column] for line in block.split("\n"))
