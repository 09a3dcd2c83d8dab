"""
One atheris target: `python -m fuzz.target PARSER DIRECTORY [arguments of libFuzzer]` feeds inputs to a parser of `fuzz.parsers`, through
a file in DIRECTORY, until an input is neither read nor refused in one line.
"""

import logging
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["allennlp_elmo_plus", "tarfile", "zipfile", "pickletools"]):
    from fuzz.parsers import PARSERS, read_or_refuse


def main() -> None:
    name, directory, *arguments = sys.argv[1:]
    parser = PARSERS[name]
    path = Path(directory) / f"input{parser.suffix}"
    # Logging warnings would take longer than reading.
    logging.disable(logging.CRITICAL)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_or_refuse(parser, path)

    atheris.Setup([sys.argv[0], *arguments], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
