"""What a program needs of the other ranks, and the lone rank, which has no others.

Every element of a sum is added up by one rank, in the order of the ranks, and handed to all: so all
ranks have the same bits, and two runs have them too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

REDUCE: dict[str, Callable[..., object]] = {
    "sum": np.add,
    "max": np.maximum,
    "min": np.minimum,
}
"""How two values of a collective become one, by its kind."""


def add_up(out: np.ndarray, terms: Sequence[np.ndarray], kind: str) -> None:
    """Writes the sum (max, min) of the terms into `out`, added up in their order. Floats of 16 bits
    are added up in float32, and their sum is rounded once."""
    wide = np.empty(out.shape, np.float32) if out.dtype.itemsize == 2 else out
    with np.errstate(all="ignore"):  # infinities and NaN are values like others
        np.copyto(wide, terms[0], casting="unsafe")
        for term in terms[1:]:
            REDUCE[kind](wide, term.astype(wide.dtype, copy=False), out=wide)
        if wide is not out:
            np.copyto(out, wide, casting="unsafe")


def share_of(x: np.ndarray, rank: int, length: int) -> np.ndarray:
    """The elements of a row that are the share of a rank, of which each has `length`: fewer where
    the last shares reach beyond the end."""
    return x[rank * length : (rank + 1) * length]


TIME_LIMIT = 60.0
"""Seconds that a rank waits for the others within a step."""


class Communicator(Protocol):
    """One rank's connection to the others. All ranks have to make the same calls in the same order:
    `number` says which one it is. RanksError is raised where two ranks differ, where one has failed
    or ended, or where one does not come within the time limit."""

    rank: int
    """The number of this rank, from 0."""
    size: int
    """The number of ranks."""
    cores: int | None
    """The cores that this rank may use, where ranks share a machine; None: all."""
    time_limit: float
    """Seconds that it waits for the others within a step."""

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        """Writes the sum (max, min) of x over the ranks into `out`, which may be x."""

    def reduce_scatter(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes this rank's share of the sum of x over the ranks into `out`, which is contiguous:
        zeros where it reaches beyond the end of x."""

    def all_gather(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes the shares of all ranks, of which x is this one's, one after the other into `out`,
        a contiguous row, as far as it reaches."""

    def broadcast(self, out: np.ndarray, x: np.ndarray, root: int, number: int) -> None:
        """Writes the x of one rank into `out`, which may be x."""

    def gather(self, value: bytes, number: int, patient: bool = False) -> list[bytes]:
        """The values of all ranks, on each of them. With `patient` there is no time limit: it ends
        when all have come, or one has failed."""

    def fail(self, reason: str) -> None:
        """Lets the others know that this rank comes to no further call, and why."""


class Lone:
    """The only rank."""

    rank, size = 0, 1
    cores: int | None = None
    time_limit = TIME_LIMIT

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        np.copyto(out, x)

    def reduce_scatter(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        np.copyto(out, x.reshape(-1))

    def all_gather(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        np.copyto(out, x)

    def broadcast(self, out: np.ndarray, x: np.ndarray, root: int, number: int) -> None:
        np.copyto(out, x)

    def gather(self, value: bytes, number: int, patient: bool = False) -> list[bytes]:
        return [value]

    def fail(self, reason: str) -> None:
        """Nobody waits."""
