"""A word to a person who waits: how much is done, and how much time is left.

Nothing is said in the first two seconds. After that a terminal has one line that changes in place;
who is told in lines, or reads a file, gets one every ten seconds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, TextIO

from graphgrad.training.progress import format_duration, wants_bar

_PATIENCE = 2.0
_PLAIN, _DRAWN = 10.0, 0.2
"""Seconds between two words: lines, and drawings of one line in place."""


class Waiting:
    """Told how far something is: `waiting("translated", 40, 1000)`; a context manager around it.

    `say` takes plain lines in the place of the stream; `stopped` is asked each time whether to go
    on, and what it raises ends what is waited for.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        say: Callable[[str], None] | None = None,
        stopped: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._say, self._stopped, self._clock = say, stopped, clock
        self._drawn = say is None and wants_bar(self._stream, environment)
        self._stage, self._begin, self._base = "", clock(), 0
        self._next = self._begin + (_PATIENCE if self._drawn or say is not None else _PLAIN)
        self._shown = self._lost = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Says it, where it is time to."""
        self._stopped()
        now = self._clock()
        if stage != self._stage:  # the time left is that of what is being done
            self._stage, self._begin, self._base = stage, now, done
        if now < self._next:
            return
        self._next = now + (_DRAWN if self._drawn else _PLAIN)
        gained = done - self._base
        left = (now - self._begin) * (total - done) / gained if gained > 0 else None
        text = f"{stage} {done}/{total}"
        if left is not None and done < total:
            text += f"  left {format_duration(left)}"
        self._show(text)

    def clear(self) -> None:
        """Takes the line away, so that something else can stand there."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    def _show(self, text: str) -> None:
        if self._say is not None:
            self._say(text)
        elif self._drawn:
            self._write(f"\r\x1b[K{text}")
            self._shown = True
        else:
            self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        if self._lost:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more
            self._lost = True
