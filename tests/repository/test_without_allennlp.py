"""Tests of code that runs without AllenNLP can be collected on a machine without AllenNLP."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import NEED_ALLENNLP

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
NOT_COLLECTED = [TESTS / name for name in NEED_ALLENNLP]


def imports_at_the_top(path: Path) -> Iterator[str]:
    """Yield the modules that the top of the file `path` imports; for `from a import b`, both `a` and `a.b`."""
    package = path.relative_to(ROOT).parent.parts
    for statement in ast.parse(path.read_text("utf-8")).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            above = package[: len(package) + 1 - statement.level] if statement.level else ()
            module = ".".join([*above, *([statement.module] if statement.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in statement.names)


@cache
def needs_allennlp(path: Path) -> bool:
    """Return whether importing `path` imports AllenNLP, directly or through modules of tests and benchmarks."""
    for name in imports_at_the_top(path):
        if name.partition(".")[0] == "allennlp" or name.startswith("allennlp_elmo_plus.plugin"):
            return True
        imported = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if name.startswith(("tests.", "benchmarks.")) and imported.is_file() and needs_allennlp(imported):
            return True
    return False


def is_collected(path: Path) -> bool:
    return not any(path == ignored or ignored in path.parents for ignored in NOT_COLLECTED)


COLLECTED = [
    path for path in sorted(TESTS.rglob("*.py")) if is_collected(path) and path.name.startswith(("test_", "conf"))
]


def test_files_collected_without_allennlp_do_not_import_it_at_the_top() -> None:
    assert len(COLLECTED) > 50
    assert [str(path.relative_to(ROOT)) for path in COLLECTED if needs_allennlp(path)] == []


@pytest.mark.parametrize("name", NEED_ALLENNLP)
def test_folders_not_collected_without_allennlp_need_it(name: str) -> None:
    path = TESTS / name
    files = [path] if path.is_file() else list(path.rglob("*.py"))
    assert any(needs_allennlp(file) for file in files)
