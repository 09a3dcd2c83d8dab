import re

import pytest
from allennlp.commands.subcommand import Subcommand

from allennlp_elmo_plus.commands.shared.catalog import command_files

COMMANDS = list(command_files())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command(name, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = run(name, "--help")
    assert ended.status == 0
    assert re.search(rf"^examples?:\n  elmo-plus {name if name == 'elmo' else name[5:]}\b", ended.out, re.MULTILINE)
    description = ended.out.partition("\n\n")[2].partition("\n\npositional arguments:")[0]
    assert description.startswith(Subcommand.by_name(name).__doc__.splitlines()[0])
    assert max(map(len, description.splitlines())) < 80
    # AllenNLP's parser adds the default value to the help of an option.
    assert not re.search(r"\(default: [^)]*\)\s+\(default = ", ended.out)


def test_all_commands_are_in_the_list(run):
    ended = run("--help")
    assert ended.status == 0 and len(COMMANDS) > 5
    for name in COMMANDS:
        assert re.search(rf"^    {name}\s", ended.out, re.MULTILINE)
