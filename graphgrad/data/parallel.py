"""Pairs of lines from two aligned files, or from one file with a tab between the two sides.

Design: the files are read once, from the start to the end, a piece at a time, and everything that
is wrong with them is counted before anything is said, so that one message names all of it. Lines
that are not UTF-8, lines that do not align and lines without a tab are errors: nobody can tell what
else is wrong with such a file. A pair with a blank side is left out and counted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from graphgrad.data.flat import LineWriter, Pairs
from graphgrad.data.lines import Watch, decode_line, each_line, unwatched
from graphgrad.errors import DataError

LISTED = 5  # line numbers in a message
PathPair = tuple[str | Path, str | Path]
Place = str | Path | PathPair
"""One tab-separated file, or two aligned ones."""


@dataclass(frozen=True)
class ReadPairs:
    """The pairs with text on both sides, and what is to be said of the others."""

    pairs: Pairs
    blank: tuple[int, ...]
    """The numbers of the lines with a blank side."""
    columns: int = 2
    """The most columns of a line: those behind the second are not looked at."""


class _Texts:
    """Takes the two sides line by line and counts what is wrong with them."""

    def __init__(self, names: tuple[str, str]) -> None:
        self.names, self.writers = names, (LineWriter(), LineWriter())
        self.read = 0
        self.kept: list[int] = []
        self.blank: list[int] = []
        self.bad: tuple[list[int], list[int]] = ([], [])
        self.first: tuple[str, str, str] = ("", "", "")
        """The place of the first line that is not text, why, and the fix."""

    def add(self, sides: tuple[bytes, bytes]) -> None:
        self.read += 1
        texts = [self._text(line, side) for side, line in enumerate(sides)]
        if None in texts:
            return
        if all(text and not text.isspace() for text in texts):
            self.kept.append(self.read)
            for writer, line in zip(self.writers, sides, strict=True):
                writer.add(line)
        else:
            self.blank.append(self.read)

    def _text(self, line: bytes, side: int) -> str | None:
        try:
            return decode_line(line)
        except DataError as error:
            self.bad[side].append(self.read)
            if not self.first[0]:
                self.first = (f"{self.names[side]}, line {self.read}", error.problem, error.fix)
            return None

    def finish(self, columns: int) -> ReadPairs:
        self.need_text()
        if not self.kept:
            raise DataError(
                f"none of the {self.read} pairs has text on both sides",
                ", ".join(dict.fromkeys(self.names)),
                "give files with sentences in them",
            )
        sources, targets = (writer.finish() for writer in self.writers)
        numbers = np.array(self.kept, np.int64)
        pairs = Pairs(sources, targets, np.arange(len(numbers)), numbers)
        return ReadPairs(pairs, tuple(self.blank), columns)

    def need_text(self) -> None:
        """DataError where a line is not UTF-8."""
        bad = sorted({*self.bad[0], *self.bad[1]})
        if not bad:
            return
        where, problem, fix = self.first
        more = f" ({len(bad):,} of {self.read:,} lines: {lines_text(bad)})" if bad[1:] else ""
        raise DataError(
            f"{problem}{more}",
            where,
            fix,
        )


def lines_text(numbers: Iterable[int]) -> str:
    """The first of some line numbers: `line 3`, `lines 3, 4, 5, 6, 7, …`."""
    some = list(numbers)
    more = ", …" if len(some) > LISTED else ""
    return f"line{'s' if len(some) > 1 else ''} {', '.join(map(str, some[:LISTED]))}{more}"


def read_pairs(place: Place, watch: Watch = unwatched) -> ReadPairs:
    r"""The pairs of two aligned files, or of one tab-separated file.

    `watch` is told the bytes that are read, piece by piece. Raises `DataError` for files that
    cannot be used (see the top of this file).

    >>> import tempfile
    >>> from pathlib import Path
    >>> import graphgrad as gg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pairs.tsv")
    ...     _ = path.write_text("one\teins\ntwo\tzwei\n", encoding="utf-8")
    ...     list(gg.data.read_pairs(path).pairs)
    [('one', 'eins'), ('two', 'zwei')]
    """
    if isinstance(place, tuple):
        return _aligned(*place, watch)
    return _tabbed(place, watch)


def _aligned(source: str | Path, target: str | Path, watch: Watch) -> ReadPairs:
    texts, unpaired = _Texts((str(source), str(target))), [0, 0]
    for sides in zip_longest(each_line(source, watch), each_line(target, watch)):
        if None in sides:
            unpaired[sides.index(None) ^ 1] += 1
        else:
            texts.add(sides)
    if any(unpaired):
        texts.need_text()  # another encoding may have other line ends
        sources, targets = (texts.read + more for more in unpaired)
        raise DataError(
            f"the files do not align: {sources} source lines, {targets} target lines",
            f"{source}, {target}",
            "give two files in which line n of one is the translation of line n of the other",
        )
    return texts.finish(2)


def _tabbed(path: str | Path, watch: Watch) -> ReadPairs:
    texts, columns, single = _Texts((str(path), str(path))), 2, []
    for sides in _columns(path, watch):
        if len(sides) > 1:
            columns = max(columns, len(sides))
        elif sides[0].strip():
            single.append(texts.read + 1)
        texts.add((sides[0], sides[1] if len(sides) > 1 else b""))
    if single:
        raise DataError(
            f"{len(single):,} of {texts.read:,} lines have no tab ({lines_text(single)})",
            f"{path}, line {single[0]}",
            "give one pair a line, a tab between its sides; two aligned files are given with "
            "--source and --target",
        )
    return texts.finish(columns)


def _columns(path: str | Path, watch: Watch) -> Iterator[list[bytes]]:
    return (line.split(b"\t") for line in each_line(path, watch))
