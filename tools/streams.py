"""Prepares standard input, output and error of the program, whatever they are connected to.

Laws:

- Every character can be written: one that the output's encoding lacks is escaped. Formats for other
  programs (JSON, CSV, pictures) are UTF-8 whatever the encoding.
- A failed write to standard output is distinguished from errors of other files, and never lost:
  `main` flushes before it ends.
- A stream that was closed from the start (`>&-`) fails like one whose disk is full, and its
  descriptor is not reused for another file.
- Control characters in text from data are escaped before they reach a terminal.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from graphgrad.text import displayable, show_controls


class _Output(io.FileIO):
    """The file behind standard output, which records the error of a failed write."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def standard_streams() -> Iterator[None]:
    """Makes the three streams follow the laws above while the block runs."""
    kept = sys.stdin, sys.stdout, sys.stderr
    if kept[0] is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(_absent(os.O_WRONLY))))
    sys.stdout = _output(kept[1])
    if kept[2] is None:
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(io.FileIO(_absent(os.O_RDONLY), "w")))
    with _escaping(sys.stdout), _escaping(sys.stderr):
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = kept


@contextmanager
def _escaping(stream: TextIO) -> Iterator[None]:
    """Makes the stream escape characters that its encoding lacks while the block runs."""
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    errors = stream.errors
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            stream.reconfigure(errors=errors)


def _absent(flags: int) -> int:
    """A descriptor to replace a closed one; every use fails, as of a closed one.

    The null device is opened for the opposite of its use: for reading, where the stream writes.
    """
    return os.open(os.devnull, flags)


def _output(stream: Any) -> Any:
    """Standard output as an `_Output` of the same encoding.

    A stream without a file of its own (in a test or a notebook) is returned unchanged.
    """
    if stream is None:
        raw = _Output(_absent(os.O_RDONLY), "w")
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace")
    if type(stream) is not io.TextIOWrapper:
        return stream
    if not isinstance(stream.buffer, io.BufferedWriter | io.FileIO):  # the latter if unbuffered
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )


def output_failure() -> OSError | None:
    """The error of the last failed write to standard output; None if none has failed."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, _Output) else None


def abandon(stream: TextIO) -> None:
    """Discards the text that is still to be written to the stream."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


def say(text: str) -> None:
    """Prints text for a person on standard output."""
    print(displayable(text, sys.stdout.encoding))


def tell(text: str) -> None:
    """Prints text for a person on standard error; errors are ignored."""
    try:
        print(show_controls(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        abandon(sys.stderr)


def write_document(content: str | bytes) -> None:
    """Writes data for a program to standard output: bytes unchanged, text as UTF-8."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content.encode("utf-8") if isinstance(content, str) else content)
    sys.stdout.buffer.flush()
