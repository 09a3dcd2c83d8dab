"""Read the scalars of TensorBoard's event files, which AllenNLP's callback "tensorboard" writes with tensorboardX."""

import struct
from collections.abc import Iterator
from pathlib import Path

from allennlp_elmo_plus.errors import InputError

try:
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event
except ModuleNotFoundError:
    raise InputError(
        "a report needs the library tensorboardX, which is not installed: pip install tensorboardX"
    ) from None

# A record is: length, checksum of the length, event, checksum of the event.
_LENGTH = struct.Struct("<Q")
_CHECKSUM_BYTES = 4


def read_scalars(directory: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the curves in the event files of `directory` by tag: pairs of a step and its value, sorted by step.

    A resumed run writes one more file and some steps twice: the newest file counts. A file is read up to its first damaged
    record, such as the one that was being written when the run was killed.
    """
    curves: dict[str, dict[float, float]] = {}
    # Names begin with the time in seconds, so sorting puts the newest file last.
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in _events(path):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    curves.setdefault(value.tag, {})[event.step] = value.simple_value
    return {tag: sorted(curve.items()) for tag, curve in curves.items()}


def _events(path: Path) -> Iterator[Event]:
    num_bytes_left = path.stat().st_size
    with open(path, "rb") as file:
        while len(head := file.read(_LENGTH.size + _CHECKSUM_BYTES)) == _LENGTH.size + _CHECKSUM_BYTES:
            (length,) = _LENGTH.unpack_from(head)
            num_bytes_left -= len(head) + length + _CHECKSUM_BYTES
            if num_bytes_left < 0:
                return
            try:
                yield Event.FromString(file.read(length))
            except DecodeError:
                return
            file.read(_CHECKSUM_BYTES)
