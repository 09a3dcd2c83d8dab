"""Describe the tensors of a pickled state dict without unpickling it.

`torch.load` calls the functions that a pickle names. With `weights_only=True` some calls are still allowed: `bytearray(10**12)`
takes all memory, a storage may claim more than the file has, and a key may take years to hash. The pickle that `torch.save`
writes of a state dict needs only fifteen kinds of instructions and three kinds of names. They are translated to descriptions
here; any other instruction or name is refused. Nothing is called.
"""

import pickletools
from collections.abc import Collection
from typing import IO, Any, NamedTuple, Union

import torch

from allennlp_elmo_plus.errors import InputError, truncated_repr

_ORDERED_DICT = "collections OrderedDict"
_REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
_FLOATING = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
}
_STORAGES = {
    **_FLOATING,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}
_LITERALS = {"EMPTY_TUPLE": (), "NEWTRUE": True, "NEWFALSE": False, "NONE": None}
_VALUES = ("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1")
_SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class StoredTensor(NamedTuple):
    """The description of a tensor in a pickle."""

    key: str  # of the record with the numbers
    dtype: torch.dtype
    num_stored: int  # numbers in the record
    offset: int  # of the first element, in numbers
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in numbers


class _Name(NamedTuple):
    name: str


class _Storage(NamedTuple):
    key: str
    dtype: torch.dtype
    num_stored: int


def describe_state(data: Union[bytes, IO[bytes]], floating_only: bool = True) -> dict[str, StoredTensor]:
    """Return the tensors of the state dict pickled in `data`, by name, in time and memory proportional to `data`.

    Args:
        data: The pickle, or a file, which is read to the end of the pickle.
        floating_only: Whether to refuse tensors of integers and of booleans.

    Raises:
        InputError: `data` is no such pickle, or a tensor has a type that is refused.
    """
    machine = _Machine(_FLOATING if floating_only else _STORAGES)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
        state = machine.stack.pop()
    except InputError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        raise InputError("must be a state dict that `torch.save` wrote, got another pickle or a damaged one") from None
    if not isinstance(state, dict):
        raise InputError(f"must be a state dict, got {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, StoredTensor):
            raise InputError(f"{truncated_repr(name)} must be a tensor, got {type(value).__name__}")
    return state


class _Machine:
    """The stack machine that interprets a pickle, with the instructions that a state dict needs."""

    def __init__(self, storages: Collection[str]) -> None:
        self.stack: list[Any] = []
        self._storages = storages
        self._memo: dict[int, Any] = {}

    def step(self, instruction: str, argument: Any) -> None:
        stack = self.stack
        if instruction in _VALUES:
            stack.append(argument)
        elif instruction in _LITERALS:
            stack.append(_LITERALS[instruction])
        elif instruction in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif instruction in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif instruction == "MARK":
            stack.append(_MARK)
        elif instruction == "EMPTY_DICT":
            stack.append({})
        elif instruction == "GLOBAL":
            stack.append(_name(argument, self._storages))
        elif instruction == "TUPLE":
            stack.append(tuple(self._pop_to_mark()))
        elif instruction in _SIZES:
            size = _SIZES[instruction]
            stack[-size:] = [tuple(stack[-size:])]
        elif instruction == "BINPERSID":
            stack.append(_storage(*stack.pop()))
        elif instruction == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_reduce(function, arguments))
        elif instruction == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set_items(stack[-1], [key, value])
        elif instruction == "SETITEMS":
            items = self._pop_to_mark()
            _set_items(stack[-1], items)
        elif instruction == "BUILD":
            # The attribute `_metadata`, versions of module classes; biLMs have no versions.
            stack.pop()
        elif instruction not in ("PROTO", "STOP"):
            raise InputError(f"must be a state dict that `torch.save` wrote, got the instruction {instruction}")

    def _pop_to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]


def _name(argument: str, storages: Collection[str]) -> _Name:
    if argument not in (_ORDERED_DICT, _REBUILD_TENSOR, *storages):
        kind = "numbers" if len(storages) > len(_FLOATING) else "floating-point numbers"
        raise InputError(
            f"must hold nothing but tensors of {kind}, got the name {truncated_repr(argument.replace(' ', '.'))}"
        )
    return _Name(argument)


def _storage(kind: str, storage: _Name, key: str, location: str, num_stored: int, view: None = None) -> _Storage:
    # Only the format before zip files writes `view`; since PyTorch 0.4 it is None.
    if (kind, view) != ("storage", None) or type(key) is not str or not key.isalnum() or type(num_stored) is not int:
        raise ValueError("no storage")
    return _Storage(key, _STORAGES[storage.name], num_stored)


def _reduce(function: _Name, arguments: tuple[Any, ...]) -> Any:
    if function.name == _ORDERED_DICT and arguments == ():
        return {}
    if function.name != _REBUILD_TENSOR:
        raise ValueError("no tensor")
    storage, offset, shape, stride = arguments[:4]
    numbers = [offset, *shape, *stride]
    if not isinstance(storage, _Storage) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("no tensor")
    return StoredTensor(*storage, offset, tuple(shape), tuple(stride))


def _set_items(target: dict[str, Any], items: list[Any]) -> None:
    keys = items[::2]
    # Only strings are hashed in bounded time: a nested tuple may take years.
    if type(target) is not dict or any(type(key) is not str for key in keys):
        raise ValueError("no state dict")
    target.update(zip(keys, items[1::2], strict=True))
