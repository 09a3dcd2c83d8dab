"""Changes to classes of AllenNLP 2.10.1 where it leaves no other way. Each function makes one, and is called below."""

import contextlib
import sys
from collections.abc import Iterator

from allennlp.commands.predict import _PredictManager
from allennlp.common.file_utils import cached_path, open_compressed
from allennlp.common.util import JsonDict

from allennlp_elmo_plus.core.errors import InputError
from allennlp_elmo_plus.plugin.predictor import BilmPredictor


def _answer_blank_lines() -> None:
    """
    Makes `allennlp predict` give every line to the predictor "bilm".

    AllenNLP leaves out lines of white space (`if not line.isspace()` in `_PredictManager._get_json_data`), and each answer after
    such a line was no longer in the line of its request.
    """
    original = getattr(_PredictManager, "_get_json_data", None)
    if original is None:
        return

    def get_json_data(self: _PredictManager) -> Iterator[JsonDict]:
        if isinstance(self._predictor, BilmPredictor):
            return _all_lines(self)
        return original(self)

    _PredictManager._get_json_data = get_json_data


def _all_lines(manager: _PredictManager) -> Iterator[JsonDict]:
    with contextlib.ExitStack() as stack:
        lines = sys.stdin
        if manager._input_file != "-":
            lines = stack.enter_context(open_compressed(cached_path(manager._input_file)))
        for number, line in enumerate(lines, start=1):
            try:
                yield manager._predictor.load_line(line)
            except InputError as error:
                raise InputError(f"line {number}: {error}") from None


_answer_blank_lines()
