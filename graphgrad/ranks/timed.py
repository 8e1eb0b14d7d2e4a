"""Notes when each sum over ranks begins and ends, for a profile."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from graphgrad.ranks.communicator import Communicator


@dataclass(frozen=True, slots=True)
class Exchange:
    """A sum over ranks: its number, its bytes, and when it began and ended, in nanoseconds of
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
    """A communicator with a list of the sums that it has done."""

    def __init__(self, communicator: Communicator) -> None:
        self._communicator = communicator
        self.rank, self.size = communicator.rank, communicator.size
        self.cores = communicator.cores
        self.exchanges: list[Exchange] = []

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        """Writes the sum (max, min) of x over the ranks into `out`, which may be x."""
        began = time.perf_counter_ns()
        self._communicator.all_reduce(out, x, kind, number)
        self.exchanges.append(Exchange(number, x.nbytes, began, time.perf_counter_ns()))

    def gather(self, value: bytes, number: int, patient: bool = False) -> list[bytes]:
        """The values of all ranks, on each of them."""
        return self._communicator.gather(value, number, patient)

    def fail(self, reason: str) -> None:
        """Lets the others know that this rank comes to no further call, and why."""
        self._communicator.fail(reason)
