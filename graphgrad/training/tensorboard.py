"""Writes the figures of a run as an event file that TensorBoard shows: the setting `tensorboard`.

The format is TensorFlow's record file of `Event` messages, written here directly, as both are a few
lines and neither TensorFlow nor TensorBoard is needed to write them:

    record    length u64, masked CRC-32C of it u32, the message, masked CRC-32C of the message u32
    Event     1 wall_time f64   2 step i64   3 file_version text   5 summary   7 session_log
    Summary   1 value, repeated: 1 tag text, 2 simple_value f32

A run that goes on opens a file of its own, which begins with a START of its step: TensorBoard then
drops what earlier files say of later steps, which are computed again.
"""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from graphgrad.files import disk_errors, make_folder

FOLDER = "tensorboard"
"""The folder of event files in that of a run."""
_POLYNOMIAL, _MASK = 0x82F63B78, 0xA282EAD8  # Castagnoli's, reversed; TensorFlow's
_START = b"\x08\x01"  # SessionLog: 1 status = START
_HELD_OUT = "held_out_"


def _table() -> Iterator[int]:
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        yield byte


_TABLE = tuple(_table())


def crc32c(data: bytes) -> int:
    """The cyclic redundancy check of Castagnoli, as in RFC 3720."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    value = crc32c(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _event(wall_time: float, step: int, field: bytes) -> bytes:
    content = b"\x09" + struct.pack("<d", wall_time) + b"\x10" + _varint(step) + field
    length = struct.pack("<Q", len(content))
    return length + _masked(length) + content + _masked(content)


def tags_of(record: Mapping[str, object]) -> dict[str, float]:
    """The finite figures of a line of metrics by their tags: `training/loss`, `held_out/loss`."""
    found = {}
    for name, value in record.items():
        if name == "step" or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if math.isfinite(value):
            held_out = name.startswith(_HELD_OUT)
            kind = "held_out" if held_out else "training"
            found[f"{kind}/{name.removeprefix(_HELD_OUT)}"] = float(value)
    return found


class EventWriter:
    """Appends the lines of metrics of a run to an event file in a folder, from `step` on."""

    def __init__(self, folder: Path, step: int, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        make_folder(folder)
        self.path = folder / f"events.out.tfevents.{int(clock())}.graphgrad.{os.getpid()}.{step}"
        start = _event(clock(), 0, _field(3, b"brain.Event:2"))
        self._append(start + _event(clock(), step + 1, _field(7, _START)))

    def add(self, record: Mapping[str, object]) -> None:
        """Appends the figures of one step."""
        values = b"".join(
            _field(1, _field(1, tag.encode()) + b"\x15" + struct.pack("<f", value))
            for tag, value in tags_of(record).items()
        )
        step = record["step"]
        assert isinstance(step, int)
        self._append(_event(self._clock(), step, _field(5, values)))

    def _append(self, data: bytes) -> None:
        with disk_errors(self.path, "write"), open(self.path, "ab") as file:
            file.write(data)
