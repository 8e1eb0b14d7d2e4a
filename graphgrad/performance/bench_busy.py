"""Keeps processors busy beside a bench, and measures how busy other programs keep them.

A busy process counts in a loop and touches no memory. It ends when its standard input does, so it
outlives neither the bench nor its death: the system closes the pipe of a process that is killed.
Ctrl-C in a terminal does not reach it, as it has a session of its own; the bench ends it then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from graphgrad.performance.bench_process import (
    Worker,
    busy_seconds,
    processor_seconds_of,
    processors,
    start_errors,
)

_PROGRAM = """
import os, sys, threading
def wait():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=wait, daemon=True).start()
while True:
    for _ in range(1 << 16):
        pass
"""


class BusyProcesses:
    """Busy processes that run; `busy_processes` starts and ends them."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self.processes = processes

    @property
    def processor_seconds(self) -> float:
        """The processor time of all of them so far."""
        return sum(processor_seconds_of(each.pid) for each in self.processes)


@contextmanager
def busy_processes(count: int) -> Iterator[BusyProcesses]:
    """Runs `count` busy processes, on the processors on which a worker of so many threads runs."""
    with ExitStack() as ends:
        processes = []
        for _ in range(count):
            with start_errors(), processors(count):
                process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _PROGRAM],
                    stdin=subprocess.PIPE,
                    start_new_session=True,
                )
            ends.callback(_end, process)
            processes.append(process)
        yield BusyProcesses(processes)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


class Meter:
    """Measures how busy other programs than a bench's own keep the machine meanwhile."""

    def __init__(self, own: Sequence[Worker | BusyProcesses]) -> None:
        self.own = own
        self.started, self.busy, self.spent = time.perf_counter(), busy_seconds(), self._own()

    def elsewhere(self) -> float | None:
        """How many processors they have used since; None if the system does not report it."""
        busy, seconds = busy_seconds(), time.perf_counter() - self.started
        if busy is None or self.busy is None:
            return None
        others = (busy - self.busy) - (self._own() - self.spent)
        return round(max(0.0, others / seconds), 2)

    def _own(self) -> float:
        mine = processor_seconds_of(os.getpid())
        return mine + sum(each.processor_seconds for each in self.own)
