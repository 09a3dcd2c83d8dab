"""The LSTM layer's arguments."""

import pytest
import torch

from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"inputs": (8, 31)}, r"`inputs` must be \(8, 32\), got \(8, 31\)"),
        ({"inputs": (9, 32)}, r"`inputs` must be \(8, 32\), got \(9, 32\)"),
        ({"hidden": (4, 64)}, r"`hidden` must be \(4, 32\), got \(4, 64\)"),
        ({"hidden": (5, 32)}, r"`hidden` must be \(4, 32\), got \(5, 32\)"),
        ({"cell": (4, 16)}, r"`cell` must be \(4, 64\), got \(4, 16\)"),
        ({"hidden": (3, 32), "cell": (3, 64)}, "`batch_sizes` must be at most 3, the rows of `cell`, got 4"),
    ],
)
def test_tensors_of_other_sizes_are_refused(changed: dict[str, tuple[int, int]], message: str) -> None:
    shapes = {"inputs": (8, 32), "hidden": (4, 32), "cell": (4, 64), **changed}
    with pytest.raises(ValueError, match=f"^{message}$"):
        LstmLayer(32, 64, 32)(batch_sizes=[4, 4], **{name: torch.zeros(shape) for name, shape in shapes.items()})
