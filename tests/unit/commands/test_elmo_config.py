"""`elmo-plus config` as it is typed."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import _jsonnet
import pytest

from allennlp_elmo_plus.commands.elmo_config import CONFIGS
from tests.helpers.command_line import ROOT, Ended

Run = Callable[..., Ended]
NAMES = sorted(path.stem for path in (ROOT / "training_config").glob("*.jsonnet"))


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_complete(name: str, run: Run) -> None:
    ended = run("elmo-config", name)
    assert ended.status == 0 and ended.err == ""
    # Without a file name there is no folder to import from.
    config = json.loads(_jsonnet.evaluate_snippet("config", ended.out))
    assert config == json.loads(_jsonnet.evaluate_file(str(ROOT / "training_config" / f"{name}.jsonnet")))
    # The comments explain the options.
    assert ended.out.startswith("// ")


def test_the_list_has_a_line_for_each_config(run: Run) -> None:
    lines = run("elmo-config").out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert all(line.endswith(".") and len(line) <= 100 for line in lines)
    # The sentences form a column.
    assert len({re.match(r"\w+ +", line).end() for line in lines}) == 1


def test_an_unknown_config_is_refused(run: Run) -> None:
    ended = run("elmo-config", "bert")
    assert ended.status == 1 and ended.out == ""
    assert ended.err == f"error: `name` must be one of {', '.join(NAMES)}, got bert\n"


def test_the_configs_of_the_package_are_those_of_the_repository() -> None:
    assert Path(CONFIGS).resolve() == ROOT / "training_config"
