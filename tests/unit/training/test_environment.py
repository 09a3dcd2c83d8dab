"""What a run logs about the command that started it."""

import platform

import pytest

from allennlp_elmo_plus.training.environment import describe_start


@pytest.mark.parametrize(
    "program, command", [("/venv/bin/allennlp", "allennlp"), ("/lib/allennlp/__main__.py", "python -m allennlp")]
)
def test_the_command_can_be_typed_again(program: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [program, "train", "my config.jsonnet"])
    assert describe_start({"version of torch": "2", "number of threads": 4}) == {
        "command": f"{command} train 'my config.jsonnet'",
        "versions": f"Python {platform.python_version()}, torch 2",
        "machine": "number of threads 4",
    }
