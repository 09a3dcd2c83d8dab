"""Products in bfloat16 where the user asks for them and the processor has instructions for them."""

import logging
from functools import cache

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels import precision
from allennlp_elmo_plus.kernels.precision import check_precision, products_in

CPU = torch.device("cpu")


def set_instructions(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(precision, "instruction_sets", lambda: frozenset(names))
    # Not what an earlier test has found out.
    monkeypatch.setattr(precision, "_processor_has_bfloat16", cache(precision._processor_has_bfloat16.__wrapped__))


def test_products_are_in_bfloat16_where_the_processor_has_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    set_instructions(monkeypatch, "avx512bf16")
    with products_in("bf16", CPU):
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    with products_in("fp32", CPU):
        assert not torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", torch.float16), products_in("fp32", CPU):
        assert torch.get_autocast_dtype("cpu") == torch.float16


def test_a_processor_without_them_multiplies_in_float32_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_instructions(monkeypatch)
    caplog.set_level(logging.INFO)
    for _ in range(2):
        with products_in("bf16", CPU):
            assert not torch.is_autocast_enabled("cpu")
    assert [record.message for record in caplog.records] == [
        "this processor does not multiply in bfloat16: all products are in float32, which is faster here"
    ]


def test_another_word_is_refused() -> None:
    with pytest.raises(InputError, match=r'^`precision` must be "fp32" or "bf16", got "fp16"$'):
        check_precision("fp16")
