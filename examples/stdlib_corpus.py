"""
Make a corpus of real English without a download: the docstrings of Python's standard library, one sentence per line.

    python -m examples.stdlib_corpus OUT_DIR [--installed-packages] [--heldout-percent 5]

OUT_DIR/train.txt and OUT_DIR/heldout.txt are written. The hash of a sentence decides whether it is held out, so that the split is the
same on every machine and with every version of Python.
"""

import argparse
import sysconfig
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Optional

from allennlp_elmo_plus.data.text.raw.preparation import digest_of, is_held_out
from allennlp_elmo_plus.errors import count_in_words
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from examples.stdlib_text import prose_sentences

TRAIN_FILE, HELDOUT_FILE = "train.txt", "heldout.txt"

# Tests; other packages; the modules of encodings, which repeat one sentence about a hundred times.
SKIPPED_DIRECTORIES = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idle_test",
    "__pycache__",
    "_vendor",
    "encodings",
}


def python_files(root: Path) -> Iterator[Path]:
    """Yield the .py files below `root`, without those of SKIPPED_DIRECTORIES and tests, in sorted order."""
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name not in SKIPPED_DIRECTORIES and not path.is_symlink():
            yield from python_files(path)
        elif path.suffix == ".py" and not path.name.startswith("test_") and path.is_file():
            yield path


def write_corpus(files: Iterable[Path], directory: Path, heldout_percent: float) -> str:
    """Write train.txt and heldout.txt into `directory`, each sentence once, in the order of `files`. Return a summary line."""
    num_files = 0
    unique: dict[str, None] = {}
    for path in files:
        num_files += 1
        # The text that `help()` prints about the language is in a dictionary, not in docstrings.
        is_reference = path.parts[-2:] == ("pydoc_data", "topics.py")
        unique.update(dict.fromkeys(prose_sentences(path.read_bytes(), every_string=is_reference)))
    parts: dict[str, list[str]] = {TRAIN_FILE: [], HELDOUT_FILE: []}
    for sentence in unique:
        parts[HELDOUT_FILE if is_held_out(digest_of(sentence), heldout_percent) else TRAIN_FILE].append(sentence)
    directory.mkdir(parents=True, exist_ok=True)
    for name, lines in parts.items():
        with atomic_path(directory / name) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    tokens = list(chain.from_iterable(sentence.split(" ") for sentence in unique))
    return (
        f"{directory}: {count_in_words(len(unique), 'sentence')} ({len(parts[HELDOUT_FILE]):,} held out), "
        f"{count_in_words(len(tokens), 'token')}, {count_in_words(len(set(tokens)), 'type')}, from "
        f"{count_in_words(num_files, 'file')}"
    )


def main(arguments: Optional[list[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.stdlib_corpus",
        description="Write the documentation of Python's standard library as text to train on, one tokenised sentence per line.",
    )
    parser.add_argument("directory", metavar="OUT_DIR", type=Path, help="where to write train.txt and heldout.txt")
    parser.add_argument(
        "--installed-packages",
        action="store_true",
        help="add the documentation of the packages installed beside this one",
    )
    parser.add_argument(
        "--heldout-percent", type=float, default=5.0, help="share of the sentences held out (default: 5)"
    )
    options = parser.parse_args(arguments)
    if not 0 < options.heldout_percent < 100:
        parser.error(f"--heldout-percent must lie between 0 and 100, got {options.heldout_percent:g}")
    paths = sysconfig.get_paths()
    files = python_files(Path(paths["stdlib"]))
    if options.installed_packages:
        files = chain(files, *(python_files(Path(root)) for root in sorted({paths["purelib"], paths["platlib"]})))
    print(write_corpus(files, options.directory, options.heldout_percent))


if __name__ == "__main__":
    main()
