"""TensorFlow's checkpoints, read without TensorFlow: those of `tests.helpers.tensorflow_checkpoints`, whole and damaged."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.tensorflow_checkpoint import TensorFlowCheckpoint
from tests.helpers.tensorflow_checkpoints import (
    footer,
    header,
    packed_block,
    packed_entry,
    packed_shape,
    packed_table,
    sealed_table,
    varint,
    write_checkpoint,
)

TENSORS = {
    "lm/W": np.arange(12, dtype=np.float32).reshape(3, 4),
    "lm/W/Adagrad": np.ones((3, 4), np.float32),
    "lm/empty": np.zeros((0, 5), np.float32),
    "lm/ids": np.array([7, -7], np.int32),
    "step": np.array(2**40, np.int64),
    "wide": np.zeros(3),
}
SHAPES = {name: array.shape for name, array in TENSORS.items() if name != "wide"}


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt-7"


def refusal(prefix: Path, name: str = "lm/W", shape: tuple[int, ...] = (3, 4)) -> str:
    with pytest.raises(InputError) as error:
        TensorFlowCheckpoint(prefix).read({name: shape})
    message = str(error.value)
    assert len(message.splitlines()) == 1 and message.startswith(str(prefix))
    return message.removeprefix(str(prefix))


@pytest.mark.parametrize("num_shards", [1, 3])
def test_tensors_are_read_as_they_were_written(prefix, num_shards):
    names = list(TENSORS)
    write_checkpoint(
        prefix, [{name: TENSORS[name] for name in names[shard::num_shards]} for shard in range(num_shards)]
    )
    checkpoint = TensorFlowCheckpoint(prefix)
    assert checkpoint.shapes == {name: array.shape for name, array in TENSORS.items()}
    arrays = checkpoint.read(SHAPES)
    assert list(arrays) == list(SHAPES)
    for name, array in arrays.items():
        assert array.dtype == TENSORS[name].dtype and array.dtype.isnative
        np.testing.assert_array_equal(array, TENSORS[name])


def test_many_tensors_fill_several_blocks(prefix):
    tensors = {f"lm/layer_{number}/kernel": np.full(2, number, np.float32) for number in range(200)}
    write_checkpoint(prefix, [tensors])
    arrays = TensorFlowCheckpoint(prefix).read(dict.fromkeys(tensors, (2,)))
    assert all(np.array_equal(arrays[name], array) for name, array in tensors.items())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"shape": packed_shape((4, 4))}, "must have shape (3, 4) by the options, got (4, 4)"),
        ({"shape": packed_shape((2**63, 4))}, "must have shape (3, 4) by the options, got (9223372036854775808, 4)"),
        ({"dtype": 14}, "must have type 1 (float32), 3 (int32) or 9 (int64), got 14"),
        ({"size": 44}, "must have 48 bytes by its shape, got 44"),
        ({"slices": b"\0"}, "must be stored in one piece, got slices"),
    ],
)
def test_an_entry_that_is_not_of_the_tensor_is_refused(prefix, changes, message):
    write_checkpoint(prefix, [TENSORS], **{"lm/W": changes})
    assert refusal(prefix) == f".index: tensor `lm/W` {message}"


def test_a_tensor_that_is_missing_or_of_another_type_is_named(prefix):
    write_checkpoint(prefix, [TENSORS])
    assert refusal(prefix, "lm/b", (4,)) == ".index: tensor `lm/b` is missing; expected shape (4,)"
    assert "`wide` must have type 1 (float32), 3 (int32) or 9 (int64), got 2" in refusal(prefix, "wide", (3,))


def test_numbers_that_are_not_there_are_refused_before_memory_is_taken(prefix, monkeypatch):
    def read(*_, **__):
        raise AssertionError("memory was taken")

    write_checkpoint(prefix, [TENSORS], **{"lm/W": {"offset": 2**62}})
    monkeypatch.setattr(np, "fromfile", read)
    assert ".data-00000-of-00001: must have 4,611,686,018,427,387,952 bytes for `lm/W`, got " in refusal(prefix)
    write_checkpoint(prefix, [TENSORS], **{"lm/W": {"shard": 5}})
    assert refusal(prefix) == ".data-00005-of-00001: there is no such file, which the index beside it names"
    huge = {"shape": packed_shape((2**40,)), "size": 2**42}
    write_checkpoint(prefix, [TENSORS], **{"lm/W": huge})
    assert "must have 4,398,046,511,104 bytes for `lm/W`" in refusal(prefix, "lm/W", (2**40,))
    # One tensor under many names.
    tensors = {str(number): TENSORS["lm/W"] for number in range(4)}
    write_checkpoint(prefix, [tensors], **dict.fromkeys(tensors, {"offset": 0}))
    data = Path(f"{prefix}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:48])
    with pytest.raises(InputError, match="the tensors must be stored apart, 192 bytes, got 48"):
        TensorFlowCheckpoint(prefix).read(dict.fromkeys(tensors, (3, 4)))


def test_damaged_numbers_are_refused(prefix):
    write_checkpoint(prefix, [TENSORS])
    data = Path(f"{prefix}.data-00000-of-00001")
    content = bytearray(data.read_bytes())
    content[5] ^= 1
    data.write_bytes(content)
    assert refusal(prefix) == (
        ".data-00000-of-00001: `lm/W` must have the checksum that is in the index, got another: it is damaged"
    )
    np.testing.assert_array_equal(TensorFlowCheckpoint(prefix).read({"lm/ids": (2,)})["lm/ids"], [7, -7])


ENTRY = packed_entry({"dtype": 1, "shape": packed_shape((1,)), "offset": 0, "size": 4, "checksum": 0})
ITEMS = [(b"", header(1)), (b"a", ENTRY)]
BLOCK = packed_block(ITEMS)
TABLE = packed_table(ITEMS)


@pytest.mark.parametrize(
    "index, message",
    [
        (b"", "it does not end as such a file"),
        (TABLE[:-1], "it does not end as such a file"),
        (TABLE[3:], "a block does not have its checksum"),
        (TABLE[:-48] + b"\xff" * 40 + TABLE[-8:], "a number has no end"),
        (TABLE[:-48] + footer(2**60, 9), "14 bytes from byte 1,152,921,504,606,846,976 on are not all there"),
        (sealed_table([(b"a", BLOCK)], compression=1), "a block is compressed, and TensorFlow compresses none"),
        (sealed_table([(b"a", BLOCK[:-4] + b"\xff" * 4)]), ""),
        (packed_table([(b"", header(1)), (b"a", b"\x0b")]), "a field has the unknown type 3"),
        (packed_table([(b"", header(1)), (b"a", b"\x0a\x7f")]), "127 bytes from byte 2 on are not all there"),
        (packed_table([(b"", header(1)), (b"a" * 1025, ENTRY)]), "a key is longer than 1024 bytes"),
        (packed_table([(b"", header(1)), (b"\xff", ENTRY)]), "codec can't decode"),
        (packed_table([(b"%d" % number, b"") for number in range(10_001)]), "it has more than 10,000 tensors"),
    ],
)
def test_a_damaged_index_is_refused_in_one_line(prefix, index, message):
    Path(f"{prefix}.index").write_bytes(index)
    beginning = ".index: must be the whole index of a TensorFlow checkpoint (V2): "
    line = refusal(prefix, "a", (1,))
    assert message in line and (not message or line.startswith(beginning))


def test_a_block_is_read_once(prefix):
    handles = packed_block([(b"%d" % number, varint(0) + varint(len(BLOCK))) for number in range(3)])
    table = sealed_table([(b"a", BLOCK), (b"b", handles)])
    Path(f"{prefix}.index").write_bytes(table[:-48] + footer(len(BLOCK) + 5, len(handles)))
    assert refusal(prefix).endswith("(V2): its blocks are not in the order of the file")


def test_an_index_of_another_machine_or_over_a_megabyte_is_refused(prefix):
    path = Path(f"{prefix}.index")
    path.write_bytes(packed_table([(b"", header(1, endianness=1))]))
    assert refusal(prefix) == ".index: must be of a little-endian machine, got a big-endian one"
    path.write_bytes(bytes(2**20 + 1))
    assert refusal(prefix) == ".index: must be at most 1,048,576 bytes, got more"
    path.unlink()
    assert refusal(prefix) == ".index: cannot be read: No such file or directory"


@settings(max_examples=200)
@given(data=st.data())
def test_any_bytes_below_the_checksums_are_read_or_refused(tmp_path_factory, data):
    prefix = tmp_path_factory.mktemp("any") / "model"
    write_checkpoint(prefix, [TENSORS])
    block = bytearray(packed_block([(b"", header(1)), (b"lm/W", ENTRY), (b"lm/X", ENTRY)]))
    for position in data.draw(st.lists(st.integers(0, len(block) - 1), max_size=3)):
        block[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(block)))
    Path(f"{prefix}.index").write_bytes(sealed_table([(b"z", bytes(block[:cut]))]))
    try:
        TensorFlowCheckpoint(prefix).read({"lm/W": (1,), "lm/X": (1,)})
    except InputError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 1000
