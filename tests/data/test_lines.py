"""Lines of bytes that arrive in pieces: however they are cut, the lines are those of a file."""

import gzip
from pathlib import Path

import pytest

from graphgrad.data.lines import LineCutter, decode_line, read_lines
from graphgrad.errors import DataError

TEXTS = {
    "plain": b"one\ntwo words\n\nlast",
    "marked": "\ufeffé one\r\ntwo\u2028still two\r\n\r\n中".encode(),
    "ended": b"a\n\n",
    "one byte": b"\x1f",
    "nothing": b"",
    "a mark alone": b"\xef\xbb\xbf\nx",
    "a mark in the middle": b"x\n\xef\xbb\xbfy\n",
}


def cut(content: bytes, size: int) -> list[bytes]:
    """The lines of the content, which arrives in pieces of a size."""
    cutter, lines = LineCutter(), []
    for start in range(0, len(content), size):
        lines += cutter.feed(content[start : start + size])
    return lines + cutter.end()


def expected(content: bytes) -> list[bytes]:
    """The rules once more, on the whole text: only a line feed ends a line."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    lines = lines if lines[-1] else lines[:-1]
    return [line[:-1] if line.endswith(b"\r") else line for line in lines]


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_the_pieces_do_not_matter(content: bytes, size: int) -> None:
    assert cut(content, size) == expected(content)
    assert cut(gzip.compress(content), size) == expected(content)
    half = len(content) // 2
    parts = gzip.compress(content[:half]) + b"\0\0" + gzip.compress(content[half:]) + b"\0"
    assert cut(parts, size) == expected(content)


def test_a_line_is_given_as_soon_as_it_is_there() -> None:
    cutter = LineCutter()
    assert cutter.feed(b"on") == [] and cutter.feed(b"e\ntw") == [b"one"]
    assert cutter.feed(b"o\n") == [b"two"] and cutter.end() == []


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_gzip_that_is_cut_short_or_damaged_is_told(size: int) -> None:
    packed = gzip.compress(b"hello\n" * 50)
    for damaged in (packed[:-1], packed[:2], packed[:12] + b"\xff" * 20, packed + b"x"):
        with pytest.raises(DataError, match="gzip file is damaged"):
            cut(damaged, size)


def test_a_file_has_the_same_lines(tmp_path: Path) -> None:
    for name, content in TEXTS.items():
        if expected(content):
            (tmp_path / name).write_bytes(content)
            assert read_lines(tmp_path / name) == [line.decode() for line in expected(content)]


def test_a_pipe_that_is_gone_is_told() -> None:
    with pytest.raises(DataError, match="pipe that the lines came from is gone"):
        read_lines("/dev/fd/987")


def test_the_first_byte_that_is_no_text_is_named() -> None:
    assert decode_line("é 中".encode()) == "é 中"
    with pytest.raises(DataError, match="0xff at place 4 of the line") as error:
        decode_line(b"abc\xff\xfe")
    assert "iconv" in error.value.fix
