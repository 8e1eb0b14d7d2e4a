"""Lines that lie in one block of bytes, in memory or in a file, are the lines that were added."""

import numpy as np
import pytest

from graphgrad.data import flat
from graphgrad.data.flat import LineWriter, Pairs, side_of
from graphgrad.errors import EnvironmentLimitError

LINES = ["one", "", "zwei Wörter", "中文", "x" * 300, "\u2028 inside"]


def written(lines: list[str]) -> flat.FlatLines:
    writer = LineWriter()
    for line in lines:
        writer.add(line.encode())
    return writer.finish()


def pairs_of(lines: list[str]) -> Pairs:
    numbers = np.arange(len(lines))
    return Pairs(written(lines), written([line.upper() for line in lines]), numbers, numbers + 1)


@pytest.mark.parametrize("limit", [1, 17, 10**6])
def test_a_line_is_what_was_added(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(flat, "IN_MEMORY", limit)
    found = written(LINES * 3)
    assert len(found) == 18 and [found.line(n) for n in range(18)] == LINES * 3
    assert list(found.lines(np.array([4, 2, 2, 17]))) == [LINES[4], LINES[2], LINES[2], LINES[5]]
    assert len(written([])) == 0


def test_a_file_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(flat, "IN_MEMORY", 1)
    monkeypatch.setattr(flat.os, "write", full)
    with pytest.raises(EnvironmentLimitError, match="No space left") as error:
        written(LINES)
    assert "TMPDIR" in error.value.fix


def test_pairs_are_a_sequence_and_a_subset_shares_their_text() -> None:
    pairs, expected = pairs_of(LINES), [(line, line.upper()) for line in LINES]
    assert list(pairs) == expected == [pairs[n] for n in range(len(pairs))]
    assert pairs == expected and pairs != expected[1:] and hash(pairs) == hash(tuple(expected))
    assert list(pairs[1:4]) == expected[1:4] and pairs[1:4].numbers.tolist() == [2, 3, 4]
    some = pairs.subset(np.array([False, True, False, True, False, False]))
    assert list(some) == [expected[1], expected[3]] and some.numbers.tolist() == [2, 4]
    assert list(some.subset(np.array([1]))) == [expected[3]]
    for side in (0, 1):
        assert list(side_of(pairs, side)) == list(side_of(expected, side))
