"""The command `elmo-config`."""

import argparse
import re
import sys
from pathlib import Path

from overrides import overrides

import allennlp_elmo_plus
from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand
from allennlp_elmo_plus.errors import InputError

# In the repository a link to the folder, in an installed package the folder itself.
CONFIGS = Path(allennlp_elmo_plus.__file__).parent / "training_config"
_IMPORT = re.compile(r"\bimport '([^']+)'")


class ElmoConfig(ElmoCommand):
    """Print a config to train with, or the list of configs.

    The printed config is complete: it needs no other file, so it can be written to any folder and changed there.
    """

    example = """\
examples:
  elmo-plus config
    lists the configs
  elmo-plus config bilm > mine.jsonnet
    writes one to a file
  elmo-plus train mine.jsonnet -s out -o '{"train_data_path": "train.txt", "validation_data_path": "heldout.txt"}'
    trains with it"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="the config to print (default: the list of all)")

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        files = {path.stem: path for path in sorted(CONFIGS.glob("*.jsonnet"))}
        if args.name is None:
            width = max(map(len, files))
            for name, path in files.items():
                print(f"{name:<{width}}  {summary(path.read_text('utf-8'))}")
            return
        if args.name not in files:
            raise InputError(f"`name` must be one of {', '.join(files)}, got {args.name}")
        sys.stdout.write(complete_config(files[args.name]))


def summary(config: str) -> str:
    """Return the first sentence of the comment at the beginning of `config`."""
    comment = re.match(r"(?://.*\n)*", config)
    words = " ".join(re.findall(r"// *(.*)", comment.group() if comment else ""))
    return re.split(r"(?<=\.) (?=[A-Z])", words)[0]


def complete_config(path: Path) -> str:
    """Return the text of the config in the file `path`, with each file that it imports in place of the import."""

    def imported(match: re.Match[str]) -> str:
        text = complete_config(path.parent / match.group(1)).strip()
        return "(\n" + "".join(f"  {line}".rstrip() + "\n" for line in text.splitlines()) + ")"

    return _IMPORT.sub(imported, path.read_text("utf-8"))
