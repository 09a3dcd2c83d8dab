"""Changes to classes of AllenNLP 2.10.1 where it leaves no other way. Each function makes one, and is called below."""

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

from allennlp.commands.predict import _PredictManager
from allennlp.common.file_utils import cached_path, open_compressed
from allennlp.common.util import JsonDict
from allennlp.training import GradientDescentTrainer

from allennlp_elmo_plus.core.errors import InputError
from allennlp_elmo_plus.plugin.dense_gradients import adapt_gradients
from allennlp_elmo_plus.plugin.predictor import BilmPredictor


def adapt_gradients_of_new_trainers() -> None:
    """
    Has every new `GradientDescentTrainer` passed to `adapt_gradients`.

    Without this, the trainer's clips and most optimizers fail in the first batch over the sparse gradient of a sampled softmax
    (`clip_grad_norm_` in `GradientDescentTrainer.rescale_gradients`). Neither the model nor the optimizer is told of the trainer,
    and callbacks are optional.
    """
    construct = GradientDescentTrainer.__init__
    if hasattr(construct, "adapts_gradients"):
        return

    @functools.wraps(construct)
    def construct_and_adapt(self: GradientDescentTrainer, *arguments: Any, **options: Any) -> None:
        construct(self, *arguments, **options)
        adapt_gradients(self)

    construct_and_adapt.adapts_gradients = True  # type: ignore[attr-defined]
    GradientDescentTrainer.__init__ = construct_and_adapt  # type: ignore[method-assign]


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


adapt_gradients_of_new_trainers()
_answer_blank_lines()
