"""Reads arrays whose elements are in several files, with a checksum for every block of each.

A manifest of version 2 lists the files with the sha256 of each MiB, and for every array the pieces
that it consists of: the elements `first` to before `last`, in one row, are at `offset` bytes in the
file of that number. So a reader that needs some elements reads the blocks around them and no
others, whatever number of files they are in, and each block is checked before a byte of it is used.
"""

from __future__ import annotations

import hashlib
import math
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

BLOCK = 1 << 20
"""Bytes that have a checksum of their own."""
FORM = {
    "format": str,
    "version": int,
    "step": int,
    "files": [{"name": str, "bytes": int, "blocks": [str]}],
    "arrays": [
        {
            "name": str,
            "dtype": str,
            "shape": [int],
            "pieces": [{"file": int, "offset": int, "first": int, "last": int}],
        }
    ],
    "details": dict,
    "seal": str,
}
"""The keys and types of a manifest of version 2; [form] is a list of any length."""
Ranges = Mapping[str, tuple[int, int]]
"""Of some arrays the elements that are wanted, from the first to before the last."""
_NAME = re.compile(r"state-\d{1,6}\.safetensors")


class Damage(Exception):
    """Why a checkpoint cannot be used; becomes a warning or part of a CheckpointError."""


def require(truth: bool, reason: str) -> None:
    """Raises Damage with the reason unless it is true."""
    if not truth:
        raise Damage(reason)


def file_name(rank: int) -> str:
    """What the file of a rank is called."""
    return f"state-{rank}.safetensors"


class Hashed:
    """Passes the pieces of a file on, and keeps the sha256 of each block of it."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces, self._open, self._filled = pieces, hashlib.sha256(), 0
        self._closed: list[str] = []

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for piece in self._pieces:
            view, start = memoryview(piece).cast("B"), 0
            while start < len(view):
                part = view[start : start + BLOCK - self._filled]
                self._open.update(part)
                start, self._filled = start + len(part), self._filled + len(part)
                if self._filled == BLOCK:
                    self._closed.append(self._open.hexdigest())
                    self._open, self._filled = hashlib.sha256(), 0
            yield piece

    @property
    def blocks(self) -> list[str]:
        """The checksums, when all has been passed on."""
        return [*self._closed, *([self._open.hexdigest()] if self._filled else [])]


def check_pieces(body: Mapping[str, Any]) -> None:
    """Raises Damage unless the pieces of each array are all of it, and are in the listed files."""
    names = [entry["name"] for entry in body["files"]]
    require(len(set(names)) == len(names), "the manifest lists a file twice")
    for entry in body["files"]:
        name, size = entry["name"], entry["bytes"]
        require(bool(_NAME.fullmatch(name)), f"{name!r} is not the name of a file of a checkpoint")
        blocks = len(entry["blocks"])
        require(
            size >= 0 and blocks == -(-size // BLOCK),
            f"{name} has {blocks} checksums in the manifest",
        )
    for entry in body["arrays"]:
        _check_array(entry, body["files"])


def _check_array(entry: Mapping[str, Any], files: list[Mapping[str, Any]]) -> None:
    name, place = entry["name"], 0
    require(all(size >= 0 for size in entry["shape"]), f"{name} has a size below 0")
    width = np.dtype(entry["dtype"]).itemsize
    for piece in sorted(entry["pieces"], key=lambda piece: int(piece["first"])):
        first, last, offset = piece["first"], piece["last"], piece["offset"]
        require(0 <= piece["file"] < len(files), f"a piece of {name} is in no listed file")
        require(
            first == place and first < last,
            f"the manifest lacks elements of {name}, or has them twice",
        )
        end = offset + (last - first) * width
        inside = offset >= 0 and end <= files[piece["file"]]["bytes"]
        require(inside, f"a piece of {name} reaches beyond its file")
        place = last
    size = math.prod(entry["shape"])
    require(place == size, f"the manifest has {place:,} of {size:,} elements of {name}")


def read_pieces(folder: Path, body: Mapping[str, Any], wanted: Ranges) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint: whole, or of those in `wanted` the elements there, in one row.

    Raises Damage, which names the file, and OSError.
    """
    with ExitStack() as stack:
        files = [_Blocks(folder / entry["name"], entry, stack) for entry in body["files"]]
        return {
            entry["name"]: _read(entry, files, wanted.get(entry["name"]))
            for entry in body["arrays"]
        }


def _read(
    entry: Mapping[str, Any], files: list[_Blocks], wanted: tuple[int, int] | None
) -> np.ndarray:
    size, dtype = math.prod(entry["shape"]), np.dtype(entry["dtype"])
    begin, end = wanted or (0, size)
    row = np.empty(end - begin, dtype)
    for piece in entry["pieces"]:
        first, last = max(piece["first"], begin), min(piece["last"], end)
        if first < last:
            offset = piece["offset"] + (first - piece["first"]) * dtype.itemsize
            target = row[first - begin : last - begin].view(np.uint8)
            files[piece["file"]].read_into(target, offset)
    return row if wanted else row.reshape(entry["shape"])


class _Blocks:
    """A file that is read by blocks, each of which is checked; the last one is kept."""

    def __init__(self, path: Path, entry: Mapping[str, Any], stack: ExitStack) -> None:
        self.path, self._entry, self._stack = path, entry, stack
        self._file: BinaryIO | None = None
        self._number, self._block = -1, b""

    def read_into(self, target: np.ndarray, offset: int) -> None:
        """Fills a row of bytes from `offset` on."""
        done = 0
        while done < target.size:
            number, start = divmod(offset + done, BLOCK)
            part = self._checked(number)[start : start + target.size - done]
            target[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)

    def _checked(self, number: int) -> bytes:
        if number == self._number:
            return self._block
        file = self._opened()
        file.seek(number * BLOCK)
        block = file.read(BLOCK)
        begin = number * BLOCK
        require(
            hashlib.sha256(block).hexdigest() == self._entry["blocks"][number],
            f"{self.path.name} was altered, or is of another checkpoint: the sha256 of its bytes "
            f"{begin:,} to {begin + len(block):,} does not match",
        )
        self._number, self._block = number, block
        return block

    def _opened(self) -> BinaryIO:
        if self._file is None:
            found, wanted = self.path.stat(), self._entry["bytes"]
            require(stat.S_ISREG(found.st_mode), f"{self.path.name} is not a regular file")
            require(
                found.st_size == wanted,
                f"{self.path.name} has {found.st_size:,} bytes instead of {wanted:,}",
            )
            self._file = self._stack.enter_context(BufferedReader(FileIO(self.path)))
        return self._file
