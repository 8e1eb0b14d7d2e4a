"""Shows the progress of a training run: a live progress bar, or plain lines without a terminal.

The design decision: the same numbers, formatted by pure functions, are shown in one of two ways. On
a terminal a bar is redrawn in place; into a pipe or a file, with `NO_COLOR` or on a dumb terminal,
a complete line is printed every few seconds, without control characters.

Laws:

- Text from data is never interpreted as markup, emoji code or control sequence: control characters,
  and characters that the output's encoding lacks, are escaped.
- If the output closes (`| head`, a lost terminal) or is full, the display stops; training
  continues, and `failure` holds the reason.
- Nothing runs in the background: the display is drawn when `update` or `message` is called.
"""

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from rich import progress as rich_progress
from rich.console import Console
from rich.table import Column
from rich.text import Text

from graphgrad.text import displayable

_WINDOW = 30.0  # seconds over which speed is averaged
_REDRAW = 0.1  # seconds between two drawings of the bar at least


@dataclass(frozen=True)
class Status:
    """The status of a run after a step.

    `loss` and `rate` (the learning rate) belong to step `step` of `total`; `speed` is
    in `unit` a second; `elapsed` and `left` are seconds. None means unknown and is not shown.
    """

    step: int
    total: int
    loss: float | None = None
    rate: float | None = None
    speed: float | None = None
    elapsed: float | None = None
    left: float | None = None
    unit: str = "examples"


def format_count(number: float) -> str:
    """Three or four digits and a unit: `950`, `12.4k`, `3.1M`, `2.0G`."""
    if not math.isfinite(number):
        return "?"
    for unit in ("", "k", "M"):
        if abs(number) < (999.5 if not unit else 999.95):
            return f"{number:.1f}{unit}" if unit else f"{number:.0f}"
        number /= 1000
    return f"{number:.1f}G"


def format_loss(loss: float) -> str:
    """Three decimals, and at least three significant digits: `2.413`, `0.000612`."""
    return f"{loss:.3f}" if abs(loss) >= 1 else f"{loss:#.3g}" if loss else "0"


def format_duration(seconds: float) -> str:
    """`6:10` (minutes), `1:02:05` (hours) or `2d 03:04` (days, hours, minutes)."""
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02d}:{minute:02d}"
    if hours:
        return f"{hours}:{minute:02d}:{second:02d}"
    return f"{minute}:{second:02d}"


def format_details(status: Status) -> str:
    """`loss 2.413  learning rate 4.1e-03  12.4k tokens/s  elapsed 1:02  left 6:10`."""
    parts = []
    if status.loss is not None:
        parts.append(f"loss {format_loss(status.loss)}")
    if status.rate is not None:
        parts.append(f"learning rate {status.rate:.1e}")
    if status.speed is not None:
        parts.append(f"{format_count(status.speed)} {status.unit}/s")
    if status.elapsed is not None:
        parts.append(f"elapsed {format_duration(status.elapsed)}")
    if status.left is not None:
        parts.append(f"left {format_duration(status.left)}")
    return "  ".join(parts)


def format_line(status: Status) -> str:
    """The plain line: `step 1200/8000` and the details."""
    return f"step {status.step}/{status.total}  {format_details(status)}".rstrip()


def wants_bar(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether `stream` is a terminal that can redraw and the user did not ask for plain text."""
    if environment.get("NO_COLOR") or environment.get("TERM", "").lower() in ("dumb", "unknown"):
        return False
    return stream.isatty()


class SpeedMeter:
    """Measures steps, and tokens or examples, per second.

    The average is that of the last half minute. It begins after the first step, in whose time a
    program is compiled.
    """

    def __init__(self) -> None:
        self._count = 0
        self._samples: deque[tuple[float, int, int]] = deque()

    def add(self, now: float, step: int, count: int) -> None:
        """Records that `step` was reached at `now` seconds, after `count` more of them."""
        self._count += count if self._samples else 0
        self._samples.append((now, step, self._count))
        while len(self._samples) > 2 and self._samples[1][0] <= now - _WINDOW:
            self._samples.popleft()

    def speed(self) -> tuple[float | None, float | None]:
        """Steps per second and the others per second; None as long as nothing is known."""
        if not self._samples or self._samples[-1][0] <= self._samples[0][0]:
            return None, None
        (begin, first, before), (end, last, after) = self._samples[0], self._samples[-1]
        steps, others = (last - first) / (end - begin), (after - before) / (end - begin)
        return (steps if steps > 0 else None), (others if others > 0 else None)


class Progress:
    """The display of one run, used as a context manager around its loop.

    `total` is the last step and `start` the step that the run begins after (that of the
    checkpoint on resuming). `every` is the number of seconds between two plain lines; the first
    and the last step always get one. `stream` is standard output by default; `bar` forces a
    bar or plain lines, else `wants_bar` decides. `clock` returns seconds.
    """

    def __init__(
        self,
        total: int,
        start: int = 0,
        stream: TextIO | None = None,
        every: float = 10.0,
        bar: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._total, self._every, self._clock = total, every, clock
        self._begin = clock()
        self._meter = SpeedMeter()
        self._shown_at = -math.inf
        self.failure: OSError | ValueError | None = None
        """The reason why nothing is shown any more; a ValueError means a closed stream."""
        drawn = wants_bar(self._stream, os.environ) if bar is None else bar
        self._bar = _make_bar(self._stream, total, start) if drawn else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._emit(self._bar.start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._emit(self._bar.stop)

    def update(
        self,
        step: int,
        loss: float | None = None,
        rate: float | None = None,
        count: int = 0,
        unit: str = "examples",
    ) -> None:
        """Shows that `step` is done, after `count` more examples or tokens."""
        now = self._clock()
        self._meter.add(now, step, count)
        last = step >= self._total
        wait = _REDRAW if self._bar is not None else self._every
        if now - self._shown_at < wait and not last:
            return
        self._shown_at = now
        steps_a_second, speed = self._meter.speed()
        left = None if steps_a_second is None else max(0, self._total - step) / steps_a_second
        elapsed = None if self._bar is None else now - self._begin
        self._show(Status(step, self._total, loss, rate, speed, elapsed, left, unit))

    def message(self, text: str) -> None:
        """Prints `text`, which may come from data, above the bar or as plain lines."""
        shown = displayable(text, self._stream.encoding)
        if self._bar is None:
            self._emit(lambda: print(shown, file=self._stream, flush=True))
        else:
            console = self._bar.console
            self._emit(lambda: console.print(Text(shown), soft_wrap=True))

    def _show(self, status: Status) -> None:
        bar = self._bar
        if bar is None:
            self._emit(lambda: print(format_line(status), file=self._stream, flush=True))
            return
        line = f"{status.step}/{status.total}  {format_details(status)}"
        bar.update(bar.task_ids[0], completed=status.step, line=line)
        self._emit(bar.refresh)

    def _emit(self, write: Callable[[], None]) -> None:
        """Calls `write`, unless the output has failed."""
        if self.failure is not None:
            return
        try:
            write()
        except (OSError, ValueError) as error:
            self.failure = error


def _make_bar(stream: TextIO, total: int, start: int) -> rich_progress.Progress:
    line = rich_progress.TextColumn(
        "{task.fields[line]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
    )
    bar = rich_progress.Progress(
        rich_progress.BarColumn(bar_width=20),
        line,
        console=Console(file=stream, force_terminal=True, highlight=False),
        auto_refresh=False,
    )
    bar.add_task("", total=total, completed=start, line=f"{start}/{total}")
    return bar
