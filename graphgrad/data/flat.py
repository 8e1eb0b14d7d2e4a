"""Lines of text as one flat block of bytes, so that millions of them need no Python objects.

A line is a string only while somebody looks at it. A block that grows beyond `IN_MEMORY` bytes goes
on in an unnamed temporary file, which is mapped into memory: the system may give its pages back.
"""

import mmap
import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from graphgrad.data.corpus import Pair
from graphgrad.errors import EnvironmentLimitError

IN_MEMORY = 1 << 26
_AT_ONCE = 1 << 14  # lines decoded at a time


class FlatLines:
    """An immutable sequence of lines: UTF-8 bytes and where each line starts."""

    def __init__(self, text: bytes | mmap.mmap, starts: np.ndarray) -> None:
        self._text, self._starts = text, starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def line(self, number: int) -> str:
        """Line `number`, counted from 0."""
        return self._text[self._starts[number] : self._starts[number + 1]].decode()

    def lines(self, numbers: np.ndarray) -> Iterator[str]:
        """The lines of these numbers, in their order."""
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            begins, ends = self._starts[some].tolist(), self._starts[some + 1].tolist()
            for begin, end in zip(begins, ends, strict=True):
                yield self._text[begin:end].decode()


class LineWriter:
    """Takes lines one after another; `finish` gives them as `FlatLines`."""

    def __init__(self) -> None:
        self._block = bytearray()
        self._file: int | None = None
        self._lengths = array("Q")

    def add(self, line: bytes) -> None:
        """One more line, valid UTF-8."""
        self._block += line
        self._lengths.append(len(line))
        if len(self._block) > IN_MEMORY:
            self._spill()

    def finish(self) -> FlatLines:
        """All lines so far; the writer is empty afterwards."""
        text: bytes | mmap.mmap = bytes(self._block)
        if self._file is not None:
            self._spill()
            text = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
            os.close(self._file)  # the map holds the file
        starts = np.zeros(len(self._lengths) + 1, np.int64)
        np.cumsum(np.frombuffer(self._lengths, self._lengths.typecode), out=starts[1:])
        self._block, self._file, self._lengths = bytearray(), None, array("Q")
        return FlatLines(text, starts)

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file, name = tempfile.mkstemp()
                os.unlink(name)  # it lives as long as somebody holds it
            rest = memoryview(self._block)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            raise EnvironmentLimitError(
                f"the text cannot be kept in a temporary file: {error.strerror or error}",
                tempfile.gettempdir(),
                "free space there, or set TMPDIR to a folder with more",
            ) from None
        self._block = bytearray()


class Pairs(Sequence[Pair]):
    """Some pairs of lines, in order, out of two aligned blocks of lines; immutable.

    `numbers` are the numbers of the lines in the file, counted from 1, int64. A subset shares the
    text.
    """

    def __init__(
        self, sources: FlatLines, targets: FlatLines, places: np.ndarray, numbers: np.ndarray
    ) -> None:
        self._sources, self._targets = sources, targets
        self._places, self.numbers = places, numbers

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice) -> "Pairs": ...
    def __getitem__(self, place: int | slice) -> "Pair | Pairs":
        if isinstance(place, slice):
            return self.subset(np.arange(len(self))[place])
        number = int(self._places[place])
        return self._sources.line(number), self._targets.line(number)

    def __iter__(self) -> Iterator[Pair]:
        return zip(self.side(0), self.side(1), strict=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return NotImplemented
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def side(self, number: int) -> Iterator[str]:
        """The source lines (0) or the target lines (1)."""
        return (self._sources, self._targets)[number].lines(self._places)

    def subset(self, members: np.ndarray) -> "Pairs":
        """The pairs at these places, or where a mask is true."""
        return Pairs(self._sources, self._targets, self._places[members], self.numbers[members])


def side_of(pairs: Sequence[Pair], number: int) -> Iterator[str]:
    """The lines of one side of any pairs: 0 the sources, 1 the targets."""
    return pairs.side(number) if isinstance(pairs, Pairs) else (pair[number] for pair in pairs)
