"""The numbers in TensorBoard's event files, which AllenNLP's callback "tensorboard" writes with tensorboardX."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import DecodeError
from tensorboardX.proto.event_pb2 import Event

# Each record: its length, a checksum of that, the event, a checksum of the event.
_LENGTH = struct.Struct("<Q")
_CHECKSUM_BYTES = 4


class Scalar(NamedTuple):
    step: int
    value: float


def read_scalars(directory: Path) -> dict[str, list[Scalar]]:
    """The curves in the event files of `directory`, by tag, in the order of steps; none where there is no such file.

    A run that was taken up again has written a file each time, and some steps twice: the file begun last counts. What follows a
    damaged record, such as one half written when the run was killed, is left out.
    """
    curves: dict[str, dict[int, float]] = {}
    # The name begins with the time in seconds.
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in _events(path):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    curves.setdefault(value.tag, {})[event.step] = value.simple_value
    return {tag: [Scalar(*item) for item in sorted(curve.items())] for tag, curve in curves.items()}


def _events(path: Path) -> Iterator[Event]:
    left = path.stat().st_size
    with open(path, "rb") as file:
        while len(head := file.read(_LENGTH.size + _CHECKSUM_BYTES)) == _LENGTH.size + _CHECKSUM_BYTES:
            (length,) = _LENGTH.unpack_from(head)
            left -= len(head) + length + _CHECKSUM_BYTES
            if left < 0:
                return
            try:
                yield Event.FromString(file.read(length))
            except DecodeError:
                return
            file.read(_CHECKSUM_BYTES)
