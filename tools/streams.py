"""Standard input, output and error of the program, whatever they are connected to.

Laws:

- Every character can be written: what the output's encoding lacks is escaped. Formats that other
  programs read (JSON, CSV, pictures) are UTF-8 whatever the encoding.
- A failed write to standard output is told from a fault of any other file, and never lost: `main`
  flushes before it ends.
- A stream that was closed from the start (`>&-`) fails like one whose disk is full, and no other
  file ever takes its place.
- Text from data reaches a terminal only with its control characters written out.
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
    """The file behind standard output; it remembers the error of a write."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def standard_streams() -> Iterator[None]:
    """The three streams as the laws above want them, while the block runs."""
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
    """Lets the stream escape what its encoding lacks, while the block runs."""
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
    """A descriptor in the place of a closed one; opened the wrong way round, so that its use fails
    as that of a closed one does."""
    return os.open(os.devnull, flags)


def _output(stream: Any) -> Any:
    """Standard output as `_Output` under the same encoding; what has no file of its own (a test's
    or a notebook's) stays as it is."""
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
    """The error of the last write to standard output that failed; None where none has."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, _Output) else None


def abandon(stream: TextIO) -> None:
    """Lets what is still to be written to the stream go nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


def say(text: str) -> None:
    """Prints for a person, on standard output."""
    print(displayable(text, sys.stdout.encoding))


def tell(text: str) -> None:
    """Prints for a person, beside the output, on standard error; where that fails nobody reads."""
    try:
        print(show_controls(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        abandon(sys.stderr)


def write_document(content: str | bytes) -> None:
    """Writes for a program, on standard output: bytes as they are, text as UTF-8."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content.encode("utf-8") if isinstance(content, str) else content)
    sys.stdout.buffer.flush()
