"""Tests of products in bfloat16, on processors with and without instructions for them."""

import pytest

from allennlp_elmo_plus.kernels import precision
from allennlp_elmo_plus.kernels.processor import instruction_sets

needs_bfloat16 = pytest.mark.skipif(
    "avx512bf16" not in instruction_sets(), reason="the processor has no products in bfloat16"
)


def use_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `precision: "bf16"` mean bfloat16 on every processor: PyTorch computes it without the instructions too, only more slowly."""
    monkeypatch.setattr(precision, "_processor_has_bfloat16", lambda: True)
