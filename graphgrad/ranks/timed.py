"""Notes when each collective begins and ends, for a profile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from graphgrad.ranks.communicator import Communicator


@dataclass(frozen=True, slots=True)
class Exchange:
    """A collective: its number, its bytes, and when it began and ended, in nanoseconds of
    `time.perf_counter_ns`."""

    number: int
    bytes: int
    began: int
    ended: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended - self.began) / 1e9


class Timed:
    """A communicator with a list of the collectives that it has done."""

    def __init__(self, communicator: Communicator) -> None:
        self._communicator = communicator
        self.rank, self.size = communicator.rank, communicator.size
        self.cores, self.time_limit = communicator.cores, communicator.time_limit
        self.exchanges: list[Exchange] = []

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        """Writes the sum (max, min) of x over the ranks into `out`, which may be x."""
        with self._noted(number, x.nbytes):
            self._communicator.all_reduce(out, x, kind, number)

    def reduce_scatter(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes this rank's share of the sum of x over the ranks into `out`."""
        with self._noted(number, x.nbytes):
            self._communicator.reduce_scatter(out, x, number)

    def all_gather(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes the shares of all ranks one after the other into `out`."""
        with self._noted(number, out.nbytes):
            self._communicator.all_gather(out, x, number)

    def broadcast(self, out: np.ndarray, x: np.ndarray, root: int, number: int) -> None:
        """Writes the x of one rank into `out`."""
        with self._noted(number, x.nbytes):
            self._communicator.broadcast(out, x, root, number)

    @contextmanager
    def _noted(self, number: int, size: int) -> Iterator[None]:
        began = time.perf_counter_ns()
        yield
        self.exchanges.append(Exchange(number, size, began, time.perf_counter_ns()))

    def gather(self, value: bytes, number: int, patient: bool = False) -> list[bytes]:
        """The values of all ranks, on each of them."""
        if number < 0:  # between the processes, and none of the program
            return self._communicator.gather(value, number, patient)
        with self._noted(number, len(value)):
            return self._communicator.gather(value, number, patient)

    def fail(self, reason: str) -> None:
        """Lets the others know that this rank comes to no further call, and why."""
        self._communicator.fail(reason)
