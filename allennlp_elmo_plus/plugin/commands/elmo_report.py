"""The command `allennlp elmo-report`."""

import argparse
import json
from pathlib import Path
from typing import Any

from allennlp.commands.subcommand import Subcommand

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.commands.command_line import failing_in_one_line, progress_bar
from allennlp_elmo_plus.report.page import report_page
from allennlp_elmo_plus.report.run import read_run
from allennlp_elmo_plus.storage.atomic_files import atomic_path

DEFAULT_NAME = "report.html"

_EXAMPLE = """\
examples:
  allennlp elmo-report runs/bilm
  allennlp elmo-report runs/bilm --neighbors neighbors.json --output report.html
  writes a page to open in a browser; neighbors.json is what `allennlp elmo-neighbors --output` wrote"""


@Subcommand.register("elmo-report")
class ElmoReport(Subcommand):
    """Writes one HTML page about a training run, of a biLM or of a model that uses one, that needs no network and no other file."""

    def add_subparser(self, parser: argparse._SubParsersAction) -> argparse.ArgumentParser:
        subparser = parser.add_parser(
            self.name,
            description=(
                "Write one HTML page about a training run, finished or not: curves of loss, perplexities, speed, memory and "
                "gradient norm, the weights with which a downstream model mixes the layers, warnings, and the config. The page is "
                "whole in itself: nothing is fetched to show it."
            ),
            help="Write an HTML page about a training run.",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument("serialization_dir", type=str, help="what was given to `allennlp train` with -s")
        subparser.add_argument(
            "--output", metavar="FILE", help=f"where to write the page (default: {DEFAULT_NAME} in that directory)"
        )
        subparser.add_argument(
            "--neighbors", metavar="FILE", help="show these neighbours, which `allennlp elmo-neighbors --output` wrote"
        )
        subparser.set_defaults(func=report_from_args)
        return subparser


def report_from_args(args: argparse.Namespace) -> None:
    """Runs the command; leaves with status 1 and one line on stderr where it cannot be done."""
    directory = Path(args.serialization_dir)
    output = Path(args.output) if args.output is not None else directory / DEFAULT_NAME
    with failing_in_one_line(), progress_bar(3, " parts", desc="writing the page") as bar:
        neighbors = None if args.neighbors is None else read_neighbors(Path(args.neighbors))
        bar.update(1)
        run = read_run(directory)
        bar.update(1)
        with atomic_path(output) as temporary:
            temporary.write_text(report_page(run, neighbors), encoding="utf-8", errors="replace")
        bar.update(1)
    print(f"wrote {output}")


def read_neighbors(path: Path) -> list[dict[str, Any]]:
    """Raises `InputError` where the file is not what `elmo-neighbors` writes."""
    try:
        content = json.loads(path.read_text("utf-8"))
        for query in content:
            for place in (query, *query["contextual"]):
                if not all(isinstance(word, str) for word in place["sentence"]):
                    raise TypeError
                place["sentence"][place["position"]]
            for near in (*query["context_free"], *query["contextual"]):
                near["similarity"] = float(near["similarity"])
            if not all(isinstance(near["word"], str) for near in query["context_free"]):
                raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise InputError(f"{path}: must be what `allennlp elmo-neighbors --output` writes") from None
    return content
