"""Bytes into lines of text, by the same rules for a file and for what arrives on standard input.

Design: text is UTF-8, plain or gzip (told by the first bytes, not by the name). Only a line feed
ends a line, with an optional carriage return before it; other separators that Unicode knows stay
inside, as they do for every other tool that counts lines. A byte order mark at the start is
dropped.

Laws: however the bytes are cut into pieces, the lines are the same; a line that is not UTF-8 is
named by its number and takes no other line with it.
"""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from graphgrad.errors import DataError

_PIPES = ("/dev/fd/", "/proc/")
_GZIP, _MARK = b"\x1f\x8b", b"\xef\xbb\xbf"
_PIECE = 1 << 20  # bytes read at a time
Watch = Callable[[int], None]
"""Told how much more is done: of bytes, or of lines."""


def unwatched(more: int) -> None:
    """Nobody looks on."""


class LineCutter:
    """Whole lines, as bytes without their ends, of bytes that arrive piece by piece.

    `feed` gives the lines that a piece completes, `end` a last line without a line feed. Both raise
    `DataError` where the bytes begin as gzip does and are damaged.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._first = True
        self._packed: bool | None = None
        """Whether the bytes are gzip; None until two of them have been seen."""
        self._unpacker = zlib.decompressobj(wbits=31)

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that end in this piece."""
        plain = self._plain(piece)
        self._rest += plain
        if self._packed is None:
            return []
        *lines, self._rest = self._rest.split(b"\n")
        return self._without_ends(lines)

    def end(self) -> list[bytes]:
        """The last line, where no line feed ended it."""
        if self._packed and not self._unpacker.eof:
            raise _damaged("it ends too early")
        *lines, last = self._rest.split(b"\n")
        self._rest = b""
        return self._without_ends([*lines, last] if last else lines)

    def _without_ends(self, lines: list[bytes]) -> list[bytes]:
        if lines and self._first:
            self._first = False
            lines[0] = lines[0].removeprefix(_MARK)
        return [line.removesuffix(b"\r") for line in lines]

    def _plain(self, piece: bytes) -> bytes:
        """The piece unpacked, where the whole is gzip."""
        if self._packed is None:
            start = self._rest + piece
            if len(start) < len(_GZIP) and _GZIP.startswith(start):
                return piece
            self._packed = start.startswith(_GZIP)
            if self._packed:
                piece, self._rest = start, b""
        return self._unpacked(piece) if self._packed else piece

    def _unpacked(self, piece: bytes) -> bytes:
        """What the piece holds; gzip files may follow one another, with zeros between them."""
        found = []
        while piece:
            if self._unpacker.eof:
                piece = piece.lstrip(b"\0")
                if not piece:
                    break
                self._unpacker = zlib.decompressobj(wbits=31)
            try:
                found.append(self._unpacker.decompress(piece))
            except zlib.error as error:
                raise _damaged(str(error)) from None
            piece = self._unpacker.unused_data
        return b"".join(found)


def _damaged(reason: str) -> DataError:
    return DataError(f"the gzip file is damaged: {reason}", fix="fetch or compress it again")


def decode_line(line: bytes) -> str:
    """The text of one line. Raises `DataError` that names the first byte that is none."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {line[error.start]:#04x} at place {error.start + 1} of the line"
        raise DataError(
            f"this is not UTF-8: {byte}",
            fix=f"convert the text to UTF-8, for example with iconv -f {_likely(line)} -t UTF-8",
        ) from None


def _likely(line: bytes) -> str:
    """The likely encoding of a line that is not UTF-8."""
    return "UTF-16" if line.startswith((b"\xff\xfe", b"\xfe\xff")) else "LATIN1"


def read_lines(path: str | Path) -> list[str]:
    r"""The lines of one UTF-8 file, plain or gzip, without their ends.

    Raises `DataError` for a file that is missing, unreadable, empty, damaged or not UTF-8.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import graphgrad as gg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "lines.txt")
    ...     _ = path.write_text("one\ntwo\n", encoding="utf-8")
    ...     gg.data.read_lines(path)
    ['one', 'two']
    """
    texts: list[str] = []
    for line in each_line(path):
        try:
            texts.append(decode_line(line))
        except DataError as error:
            where = f"{path}, line {len(texts) + 1}"
            raise DataError(error.problem, where, error.fix) from None
    return texts


def each_line(path: str | Path, watch: Watch = unwatched) -> Iterator[bytes]:
    """The lines of one file, plain or gzip, as bytes without their ends, a piece at a time.

    `watch` is told the bytes of the file that each piece takes. Raises `DataError` for a file that
    is missing, unreadable, empty or damaged.
    """
    cutter, some = LineCutter(), False
    try:
        for piece in _pieces(Path(path), watch):
            lines = cutter.feed(piece)
            some = some or bool(lines)
            yield from lines
        last = cutter.end()
        if not some and not last:
            raise DataError("the file is empty", fix="give a file with text in it")
    except DataError as error:
        raise DataError(error.problem, error.where or str(path), error.fix) from None
    yield from last


def _pieces(path: Path, watch: Watch) -> Iterator[bytes]:
    try:
        if path.is_dir():
            raise DataError("this is a directory, not a file", fix="name a file in it")
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                watch(len(piece))
                yield piece
    except FileNotFoundError:
        if str(path).startswith(_PIPES):
            raise DataError(
                "the pipe that the lines came from is gone",
                fix="keep the lines in a file and name it",
            ) from None
        raise DataError("there is no such file", fix="check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the file cannot be read: {reason}", fix="check it") from None
