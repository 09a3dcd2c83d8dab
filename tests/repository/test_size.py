"""Files and folders are small enough to be read whole."""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_LINES = 300
MAX_FILES = 14
PACKAGE = list((ROOT / "allennlp_elmo_plus").rglob("*.py"))
TESTS = list((ROOT / "tests").rglob("*.py"))


def test_no_file_of_package_and_tests_is_longer_than_300_lines() -> None:
    num_lines = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in PACKAGE + TESTS}
    assert len(num_lines) > 300
    assert {name: num for name, num in num_lines.items() if num > MAX_LINES} == {}


def test_no_folder_of_the_package_has_more_than_14_files() -> None:
    num_files = Counter(str(path.parent.relative_to(ROOT)) for path in PACKAGE)
    assert {name: num for name, num in num_files.items() if num > MAX_FILES} == {}
