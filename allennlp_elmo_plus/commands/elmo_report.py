"""The command `elmo-report`."""

import argparse
from pathlib import Path

from overrides import overrides

from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand, progress_bar
from allennlp_elmo_plus.inference.neighbors_file import read_neighbors
from allennlp_elmo_plus.report.page import report_page
from allennlp_elmo_plus.report.run import read_run
from allennlp_elmo_plus.storage.atomic_files import atomic_path


class ElmoReport(ElmoCommand):
    """Write an HTML page about a training run.

    The run, of a biLM or of a model that uses one, may still be in progress. The page shows curves of loss, perplexity, speed,
    memory and gradient norm, the weights of a downstream model's layer mix, warnings, and the config. It loads nothing from the
    network.
    """

    example = """\
examples:
  elmo-plus report runs/bilm
    writes runs/bilm/report.html, a page for a browser
  elmo-plus report runs/bilm --neighbors neighbors.json --output page.html
    shows the result of `elmo-plus neighbors ... --output neighbors.json` too"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("serialization_dir", help="the directory of the run, the -s of `elmo-plus train`")
        parser.add_argument(
            "--output", metavar="FILE", help="the page to write (default: report.html in the directory of the run)"
        )
        parser.add_argument("--neighbors", metavar="FILE", help="show this file of `elmo-plus neighbors --output`")

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        directory = Path(args.serialization_dir)
        output = directory / "report.html" if args.output is None else Path(args.output)
        with progress_bar("writing the page", " parts", 3) as advance:
            neighbors = None if args.neighbors is None else read_neighbors(Path(args.neighbors))
            advance(1)
            run = read_run(directory)
            advance(1)
            with atomic_path(output) as temporary:
                temporary.write_text(report_page(run, neighbors), encoding="utf-8", errors="replace")
            advance(1)
        print(f"wrote {output}")
