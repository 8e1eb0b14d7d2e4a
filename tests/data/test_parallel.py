"""Pairs from two files or one; what is wrong with them is counted and told at once."""

import gzip
from pathlib import Path

import pytest

from graphgrad.data.parallel import read_pairs
from graphgrad.errors import DataError

ROWS = [("a cat", "eine Katze"), ("é", "中"), ("", "leer"), ("a\u2028b", "c"), ("last", "letzt")]
KEPT = [pair for pair in ROWS if pair[0]]


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def tabbed(rows: list[tuple[str, ...]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("packed", [False, True])
def test_two_files_and_one_have_the_same_pairs(tmp_path: Path, packed: bool) -> None:
    pack = gzip.compress if packed else bytes
    sides = [
        write(tmp_path, f"{side}", pack("".join(f"{row[side]}\n" for row in ROWS).encode()))
        for side in (0, 1)
    ]
    one = write(tmp_path, "one", pack(tabbed(ROWS)))
    for found in (read_pairs((sides[0], sides[1])), read_pairs(one)):
        assert list(found.pairs) == KEPT and found.blank == (3,) and found.columns == 2
        assert found.pairs.numbers.tolist() == [1, 2, 4, 5]


def test_columns_behind_the_second_are_counted(tmp_path: Path) -> None:
    rows = [("a", "b", "CC-BY"), ("c", "d")]
    found = read_pairs(write(tmp_path, "one", tabbed(rows)))
    assert list(found.pairs) == [("a", "b"), ("c", "d")] and found.columns == 3


def test_lines_without_a_tab_are_counted_and_blank_ones_are_blank(tmp_path: Path) -> None:
    path = write(tmp_path, "one", tabbed(KEPT) + b"\n" + b"no tab\n" * 7)
    with pytest.raises(DataError, match="7 of 12 lines have no tab") as error:
        read_pairs(path)
    assert "(lines 6, 7, 8, 9, 10, …)" in error.value.problem
    assert error.value.where == f"{path}, line 6" and "--source" in error.value.fix
    assert read_pairs(write(tmp_path, "two", tabbed(KEPT) + b"\n")).blank == (5,)


def test_all_lines_that_are_not_utf_8_are_counted(tmp_path: Path) -> None:
    bad = write(tmp_path, "bad", b"good\nb\xe4d\ngood\n\xff\nb\xf6se\n")
    good = write(tmp_path, "good", b"1\n2\n\xfc\n4\n5\n")
    with pytest.raises(DataError, match="byte 0xe4 at place 2") as error:
        read_pairs((bad, good))
    assert "4 of 5 lines: lines 2, 3, 4, 5" in error.value.problem
    assert error.value.where == f"{bad}, line 2" and "iconv" in error.value.fix


@pytest.mark.parametrize("lengths", [(3, 7), (7, 3), (1, 2)])
def test_files_that_do_not_align_are_told_with_both_counts(
    tmp_path: Path, lengths: tuple[int, int]
) -> None:
    source, target = (write(tmp_path, f"{n}-{s}", b"x\n" * n) for s, n in enumerate(lengths))
    wanted = f"{lengths[0]} source lines, {lengths[1]} target lines"
    with pytest.raises(DataError, match=wanted):
        read_pairs((source, target))
