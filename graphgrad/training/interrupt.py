"""Stops a training loop on a signal, after the step that is being computed.

The design decision: a signal never interrupts arithmetic or a save. The first one only sets a
flag; the loop reads the flag between two steps, saves once and prints how to resume. A person who
cannot wait presses Ctrl-C again.

Laws:

- The first SIGINT, SIGTERM or SIGHUP (the terminal is gone) sets `requested` and does nothing
  else.
- A SIGINT after that raises `KeyboardInterrupt` at once; any other changes nothing.
- A signal that was ignored when the guard began (`nohup`, a background job) stays ignored.
- On leaving, the earlier handlers are restored, whatever happened inside.
- Python delivers signals to the main thread only: in any other thread the guard does nothing.
"""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if sys.platform != "win32" else ()))


class InterruptGuard:
    """A context manager around a training loop.

        with InterruptGuard() as guard:
            while step < total and not guard.requested:
                ...

    `requested` is true once a signal has arrived, and `signal_name` is its name
    (`SIGINT`), empty before. Both may be read after the block.
    """

    def __init__(self) -> None:
        self.requested = False
        self.signal_name = ""
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            # None is a handler that was not set from Python and could not be restored.
            if handler is not None and handler is not signal.SIG_IGN:
                self._previous[number] = handler
                signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number in tuple(self._previous):
            signal.signal(number, self._previous[number])
            del self._previous[number]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested = True
            self.signal_name = signal.Signals(number).name
