"""What a program needs of the other ranks, and the lone rank, which has no others.

A sum is made in the order of the ranks, by one rank for each element, and handed to all: so all
ranks have the same bits, whatever the sizes of the messages, and two runs have them too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

REDUCE: dict[str, Callable[..., object]] = {
    "sum": np.add,
    "max": np.maximum,
    "min": np.minimum,
}


class Communicator(Protocol):
    """One rank's connection to all of them. The ranks have to make the same calls in the same
    order; `number` says which, and RanksError is raised where two ranks differ, or where one of
    them does not come within the time limit."""

    rank: int
    """The number of this rank, from 0."""
    size: int
    """The number of ranks."""

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        """Writes the sum (max, min) of x over the ranks into `out`, which may be x."""

    def gather(self, value: bytes, number: int) -> list[bytes]:
        """The values of all ranks, on each of them."""


class Lone:
    """The only rank."""

    rank, size = 0, 1

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        np.copyto(out, x)

    def gather(self, value: bytes, number: int) -> list[bytes]:
        return [value]
