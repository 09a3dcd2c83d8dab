"""State dicts in the format of `torch.save` before zip files: read as `torch.load` reads them, damaged ones refused in one line."""

import io
import os
import pickle
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.torch_weights import _LEGACY_START, read_legacy_state

STATE = {
    "a.weight": torch.arange(12.0).view(3, 4),
    "a.bias": torch.tensor([0.5, -1], dtype=torch.float64),
    "b": torch.tensor([1, 2, 3], dtype=torch.bfloat16),
}
SHAPES = {name: tuple(value.shape) for name, value in STATE.items()}


def legacy(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def refusal(path: Path, content: bytes, shapes: dict[str, tuple[int, ...]] = SHAPES) -> str:
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as error:
            read_legacy_state(path, shapes)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pkl"


def check_equal(read: dict[str, torch.Tensor]) -> None:
    assert read.keys() == STATE.keys()
    for name, value in read.items():
        assert value.dtype == STATE[name].dtype and torch.equal(value, STATE[name])


@pytest.mark.parametrize("new", [False, True])
def test_both_formats_are_read(new: bool, path: Path) -> None:
    torch.save(OrderedDict(STATE), path, _use_new_zipfile_serialization=new)
    check_equal(read_legacy_state(path, SHAPES))


def test_tensors_that_share_their_numbers_are_read(path: Path) -> None:
    numbers = torch.arange(10.0)
    path.write_bytes(legacy({"all": numbers, "end": numbers[6:]}))
    read = read_legacy_state(path, {"all": (10,), "end": (4,)})
    assert torch.equal(read["all"], numbers) and torch.equal(read["end"], numbers[6:])


def test_another_shape_is_refused(path: Path) -> None:
    message = refusal(path, legacy(STATE), {**SHAPES, "b": (4,)})
    assert message == "`b` must have shape (4,) by the options, got (3,)"
    assert refusal(path, legacy(STATE), {"b": (3,)}).startswith("must hold the weights that the options describe")
    assert refusal(path, legacy({}), {"b": (3,)}).startswith("`b` must be there, with shape (3,)")


def test_a_transposed_tensor_is_refused(path: Path) -> None:
    message = refusal(path, legacy({"a": torch.zeros(2, 3).t()}), {"a": (3, 2)})
    assert message == "`a` must be stored in full, row after row"


def test_a_truncated_or_longer_file_is_refused(path: Path) -> None:
    content = legacy(STATE)
    for length in range(len(_LEGACY_START), len(content)):
        refusal(path, content[:length])
    assert "bytes, by the sizes of its tensors, got" in refusal(path, content + b"\0")


def test_other_files_are_refused(path: Path) -> None:
    for content in (b"", b"PK", pickle.dumps(STATE), _LEGACY_START, _LEGACY_START + b"\x80\x02]q\x00."):
        refusal(path, content)


class Calling:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("called",)


def test_nothing_is_called(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    call = pickle.dumps(Calling(), protocol=2)
    harmless = pickle.dumps({"little_endian": True}, protocol=2)
    described = legacy({})[len(_LEGACY_START) :]
    for content in (call, harmless + call, call + described, described[:-6] + call):
        refusal(path, _LEGACY_START + content)
    assert not Path("called").exists()


def test_claims_beyond_the_file_are_refused(path: Path) -> None:
    """A storage that claims more numbers than there are, in the pickle, at its numbers, and in both."""
    content = legacy({"a": torch.zeros(300, dtype=torch.float32)})
    claim, at_numbers = b"M,\x01", (300).to_bytes(8, "little")
    assert content.count(at_numbers) == 1
    # The first 300 is the storage's.
    more_in_pickle = content.replace(claim, b"J\xff\xff\xff\x7f", 1)
    assert "must have 2,147,483,647 numbers, got another count" in refusal(path, more_in_pickle, {"a": (300,)})
    more_at_numbers = content.replace(at_numbers, (301).to_bytes(8, "little"))
    assert "must have 300 numbers, got another count" in refusal(path, more_at_numbers, {"a": (300,)})
    both = more_in_pickle.replace(at_numbers, (2**31 - 1).to_bytes(8, "little"))
    assert "bytes, by the sizes of its tensors" in refusal(path, both, {"a": (300,)})
    assert refusal(path, more_in_pickle.replace(claim, b"J\xff\xff\xff\x7f", 1), {"a": (2**31 - 1,)})


def test_descriptions_of_one_storage_must_agree(path: Path) -> None:
    numbers = torch.arange(300.0)
    content = legacy({"a": numbers, "b": numbers[:2]})
    # The second time, 300 is a number of the memo or of the pickle: the storage is described anew.
    parts = content.split(b"M,\x01")
    changed = b"M,\x01".join(parts[:-1]) + b"M-\x01" + parts[-1]
    message = refusal(path, changed, {"a": (300,), "b": (2,)})
    assert "as all tensors do that share it" in message
