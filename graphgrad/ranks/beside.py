"""Exchanges beside the computation: a thread that alone calls a communicator, call after call.

A collective that is started is put in a queue; the thread does one after the other, in the order of
the queue, which is that of the program and so the same on all ranks. Whoever waits for one gets its
end, or the error that it or one before it has met: after an error no further exchange is begun,
since the ranks may be at different places then.

Exchanges that are waited for at once go through the same queue, so that a communicator sees one
caller, whatever it can do with several.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np

from graphgrad.ranks.communicator import Communicator


class _Exchange:
    """A call of the communicator: `done` is set when it has ended, with or without a problem."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call, self.done = call, threading.Event()
        self.result: object = None
        self.problem: BaseException | None = None


_Queue = SimpleQueue[_Exchange | None]


def _work(queue: _Queue) -> None:
    broken: BaseException | None = None
    while (exchange := queue.get()) is not None:
        if broken is None:
            try:
                exchange.result = exchange.call()
            except BaseException as problem:
                broken = problem
        exchange.problem = broken
        exchange.done.set()
        del exchange  # and with it the array that it has


class Beside:
    """A communicator whose collectives can be started, and waited for by their number."""

    def __init__(self, communicator: Communicator) -> None:
        self.communicator = communicator
        self.rank, self.size = communicator.rank, communicator.size
        self.cores, self.time_limit = communicator.cores, communicator.time_limit
        self._queue: _Queue | None = None
        self._started: dict[int, _Exchange] = {}

    def start(self, out: np.ndarray, kind: str, number: int) -> None:
        """Begins to replace `out` by the sum (max, min) of it over the ranks. The array is left
        alone until `wait` has returned."""
        self.begin(number, lambda: self.communicator.all_reduce(out, out, kind, number))

    def begin(self, number: int, call: Callable[[], object]) -> None:
        """Begins a call of the communicator, whose arrays are left alone until `wait` has
        returned."""
        self._started[number] = self._put(call)

    def wait(self, number: int) -> None:
        """Returns when the collective of this number has ended. Raises RanksError where it has
        failed."""
        self._end(self._started.pop(number))

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        """Writes the sum (max, min) of x over the ranks into `out`, which may be x."""
        self._end(self._put(lambda: self.communicator.all_reduce(out, x, kind, number)))

    def reduce_scatter(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes this rank's share of the sum of x over the ranks into `out`."""
        self._end(self._put(lambda: self.communicator.reduce_scatter(out, x, number)))

    def all_gather(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes the shares of all ranks one after the other into `out`."""
        self._end(self._put(lambda: self.communicator.all_gather(out, x, number)))

    def broadcast(self, out: np.ndarray, x: np.ndarray, root: int, number: int) -> None:
        """Writes the x of one rank into `out`."""
        self._end(self._put(lambda: self.communicator.broadcast(out, x, root, number)))

    def gather(self, value: bytes, number: int, patient: bool = False) -> list[bytes]:
        """The values of all ranks, on each of them."""
        found: list[bytes] = []
        self._end(self._put(lambda: found.extend(self.communicator.gather(value, number, patient))))
        return found

    def fail(self, reason: str) -> None:
        """Lets the others know that this rank comes to no further call, and why."""
        self.communicator.fail(reason)

    def settle(self) -> None:
        """Returns when nothing that was started goes on: a run that ends early leaves its memory to
        the next one."""
        while self._started:
            _, exchange = self._started.popitem()
            exchange.done.wait()

    def _put(self, call: Callable[[], object]) -> _Exchange:
        if self._queue is None:
            self._queue = SimpleQueue()
            weakref.finalize(self, self._queue.put, None)  # which ends the thread
            name = f"graphgrad-rank-{self.rank}"
            threading.Thread(target=_work, args=(self._queue,), name=name, daemon=True).start()
        exchange = _Exchange(call)
        self._queue.put(exchange)
        return exchange

    def _end(self, exchange: _Exchange) -> None:
        try:
            exchange.done.wait()
        except BaseException:  # Ctrl-C: the memory is given back when nothing writes to it any more
            exchange.done.wait()
            raise
        if exchange.problem is not None:
            raise exchange.problem
