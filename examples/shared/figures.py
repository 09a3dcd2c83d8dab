"""The figures of an example, one JSON object per line, so that an interrupted series of runs can be resumed."""

import json
import statistics
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from examples.shared.files import read_json_lines

Key = Mapping[str, Any]


def add_figures_argument(parser: ArgumentParser) -> None:
    """Add the option `--figures`; without it, `arguments.figures` is None."""
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="FILE",
        help="a file of figures to add to; what is there is not measured again (default: figures.jsonl in the directory --work)",
    )


class Figures:
    """The figures in the JSON lines file `path`. A line has the fields of one run's key and the figures of that run.

    Several processes may add lines to the same file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def once(self, key: Key, measure: Callable[[], Mapping[str, float]]) -> dict[str, Any]:
        """Return the line with the fields of `key`. If no line has them, `measure` is called, and a line is added."""
        for line in self.lines(key):
            return line
        line = {**key, **measure()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return line

    def lines(self, key: Key) -> list[dict[str, Any]]:
        """Return the lines that have all fields of `key`, with the same values, in the order of the file."""
        if not self._path.exists():
            return []
        lines = read_json_lines(self._path)
        return [line for line in lines if all(line.get(name) == value for name, value in key.items())]

    def mean(self, key: Key, figure: str, digits: int = 1, scale: float = 1.0) -> str:
        """Return `mean ± standard deviation` of a figure, times `scale`, over all runs whose line has the fields of `key`.

        The standard deviation is that of a sample (divided by N - 1). With a single run there is only the figure; without any
        run the result is the empty string.
        """
        values = [scale * line[figure] for line in self.lines(key) if figure in line]
        if not values:
            return ""
        if len(values) == 1:
            return f"{values[0]:.{digits}f} (one run)"
        return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"
