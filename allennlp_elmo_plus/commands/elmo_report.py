"""The command `elmo-report`."""

import argparse
from pathlib import Path

from overrides import overrides

from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand, UsageError, progress_bar, refuse_to_replace
from allennlp_elmo_plus.inference.neighbors_file import read_neighbors
from allennlp_elmo_plus.report.page import report_page
from allennlp_elmo_plus.report.run import read_run
from allennlp_elmo_plus.storage.atomic_files import atomic_path


class ElmoReport(ElmoCommand):
    """Write an HTML page about a training run, or about several runs, compared.

    A run, of a biLM or of a model that uses one, may still be in progress. The page shows curves of loss, perplexity, speed,
    memory and gradient norm, the weights of a downstream model's layer mix, the size, the text and the command of the run,
    warnings, and the config. Of several runs, each chart has a curve per run, and tables show what differs. The page loads nothing
    from the network.
    """

    example = """\
examples:
  elmo-plus report runs/bilm
    writes runs/bilm/report.html, a page for a browser
  elmo-plus report runs/bilm runs/gru runs/large
    writes report.html, which compares three runs
  elmo-plus report runs/bilm --neighbors neighbors.json --output page.html
    shows the result of `elmo-plus neighbors ... --output neighbors.json` too"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "serialization_dirs",
            nargs="+",
            metavar="DIRECTORY",
            help="the directory of a run, the -s of `elmo-plus train`",
        )
        parser.add_argument(
            "--output",
            metavar="FILE",
            help="the page to write (default: report.html in the directory of the run, for several runs in the current directory)",
        )
        parser.add_argument(
            "--neighbors", metavar="FILE", help="show this file of `elmo-plus neighbors --output`; for one run only"
        )

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        named = list(map(Path, args.serialization_dirs))
        # A run may be named twice, as by `runs/*` where a link names the latest one.
        paths = [directory.resolve() for directory in named]
        directories = [directory for number, directory in enumerate(named) if paths[number] not in paths[:number]]
        if len(directories) > 1 and args.neighbors is not None:
            raise UsageError(f"--neighbors must come with one run, got {len(directories)}")
        default = directories[0] if len(named) == 1 else Path()
        output = default / "report.html" if args.output is None else Path(args.output)
        refuse_to_replace(str(output), files=[args.neighbors])
        neighbors = None if args.neighbors is None else read_neighbors(Path(args.neighbors))
        runs = []
        with progress_bar("reading", " runs", len(directories)) as advance:
            for directory in directories:
                runs.append(read_run(directory))
                advance(1)
        with atomic_path(output) as temporary:
            temporary.write_text(report_page(runs, neighbors), encoding="utf-8", errors="replace")
        print(f"wrote {output}")
