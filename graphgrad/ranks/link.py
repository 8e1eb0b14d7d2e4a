"""A link between ranks that is slower than this machine's memory: its model, and its imitation.

The model of a sum of `size` bytes over N ranks is that of a ring, in which each rank sends the N-th
part of the bytes to its neighbour 2 (N - 1) times, or of a tree, up which and down again the bytes
flow in small pieces, whichever is faster:

    ring    2 (N - 1) (latency + size / N / rate)
    tree    2 ⌈log₂ N⌉ latency + 2 size / rate

A reduce_scatter and an all_gather are a ring once round. `Delayed` makes every exchange last that
long, by sleeping for what is left of it: so ranks of one machine show what a network would do to a
step, and what of it is hidden by computing meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from graphgrad.errors import ConfigurationError
from graphgrad.ranks.communicator import Communicator


@dataclass(frozen=True)
class Link:
    """What connects two ranks: `latency` in seconds a message, `rate` in bytes a second.

    Raises ConfigurationError for values of no link.
    """

    latency: float = 0.0
    rate: float = math.inf

    def __post_init__(self) -> None:
        if not (0.0 <= self.latency < math.inf):
            raise ConfigurationError(
                f"a link has no latency of {self.latency:g} s", fix="0 or more seconds"
            )
        if not self.rate > 0.0:
            raise ConfigurationError(
                f"a link has no rate of {self.rate:g} bytes a second", fix="more than 0"
            )

    @property
    def is_instant(self) -> bool:
        """Whether nothing takes any time on it."""
        return self.latency == 0.0 and self.rate == math.inf

    def reduce_seconds(self, size: int, ranks: int) -> float:
        """Seconds of a sum of `size` bytes over the ranks, by a ring or a tree."""
        levels = (ranks - 1).bit_length()
        tree = 2.0 * (levels * self.latency + (size / self.rate if levels else 0.0))
        return min(tree, 2.0 * self.gather_seconds(size / ranks, ranks))

    def gather_seconds(self, size: float, ranks: int) -> float:
        """Seconds until every rank has the `size` bytes that each of them has brought."""
        return (ranks - 1) * (self.latency + size / self.rate)

    def broadcast_seconds(self, size: int, ranks: int) -> float:
        """Seconds until every rank has the `size` bytes of one, each rank passing them on."""
        return (ranks - 1).bit_length() * (self.latency + size / self.rate)


class Delayed:
    """A communicator whose exchanges last at least as long as they would over a link."""

    def __init__(self, communicator: Communicator, link: Link) -> None:
        self._communicator, self.link = communicator, link
        self.rank, self.size = communicator.rank, communicator.size
        self.cores, self.time_limit = communicator.cores, communicator.time_limit

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        """Writes the sum (max, min) of x over the ranks into `out`, which may be x."""
        with _at_least(self.link.reduce_seconds(x.nbytes, self.size)):
            self._communicator.all_reduce(out, x, kind, number)

    def reduce_scatter(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes this rank's share of the sum of x over the ranks into `out`."""
        with _at_least(self.link.gather_seconds(x.nbytes / self.size, self.size)):
            self._communicator.reduce_scatter(out, x, number)

    def all_gather(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes the shares of all ranks one after the other into `out`."""
        with _at_least(self.link.gather_seconds(x.nbytes, self.size)):
            self._communicator.all_gather(out, x, number)

    def broadcast(self, out: np.ndarray, x: np.ndarray, root: int, number: int) -> None:
        """Writes the x of one rank into `out`."""
        with _at_least(self.link.broadcast_seconds(x.nbytes, self.size)):
            self._communicator.broadcast(out, x, root, number)

    def gather(self, value: bytes, number: int, patient: bool = False) -> list[bytes]:
        """The values of all ranks, on each of them."""
        found = self._communicator.gather(value, number, patient)
        time.sleep(self.link.gather_seconds(max(map(len, found)), self.size))
        return found

    def fail(self, reason: str) -> None:
        """Lets the others know that this rank comes to no further call, and why."""
        self._communicator.fail(reason)


def over(communicator: Communicator, link: Link) -> Communicator:
    """The communicator over a link; itself where the link is instant."""
    return communicator if link.is_instant else Delayed(communicator, link)


@contextmanager
def _at_least(seconds: float) -> Iterator[None]:
    """Lets the block last as long, at least."""
    end = time.perf_counter() + seconds
    yield
    while (left := end - time.perf_counter()) > 0.0:
        time.sleep(left)
