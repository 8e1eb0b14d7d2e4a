"""Ranks as threads of one process, for tests and for a look at what a split graph computes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from graphgrad.errors import RanksError
from graphgrad.ranks.communicator import TIME_LIMIT, add_up, share_of


class _Meeting:
    """Where the threads meet."""

    def __init__(self, size: int, time_limit: float) -> None:
        self.barrier = threading.Barrier(size, timeout=time_limit)
        self.time_limit = time_limit
        self.brought: list[Any] = [None] * size


class Threads:
    """The rank of one thread."""

    def __init__(self, rank: int, size: int, meeting: _Meeting) -> None:
        self.rank, self.size, self._meeting = rank, size, meeting
        self.cores: int | None = None
        self.time_limit = meeting.time_limit

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        arrays = self._exchanged((number, kind, x.shape, str(x.dtype)), x.copy())
        add_up(out, arrays, kind)

    def reduce_scatter(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        given = x.reshape(-1).copy()
        arrays = self._exchanged((number, "scattered", x.shape, str(x.dtype)), given)
        terms = [share_of(array, self.rank, out.size) for array in arrays]
        add_up(out[: terms[0].size], terms, "sum")
        out[terms[0].size :] = 0

    def all_gather(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        arrays = self._exchanged((number, "gathered", out.shape, str(x.dtype)), x.copy())
        for rank, array in enumerate(arrays):
            part = share_of(out, rank, x.size)
            part[...] = array[: part.size]

    def broadcast(self, out: np.ndarray, x: np.ndarray, root: int, number: int) -> None:
        arrays = self._exchanged((number, "broadcast", root, x.shape, str(x.dtype)), x.copy())
        np.copyto(out, arrays[root])

    def gather(self, value: bytes, number: int, patient: bool = False) -> list[bytes]:
        return list(self._exchanged((number,), value))

    def fail(self, reason: str) -> None:
        self._meeting.barrier.abort()

    def _exchanged(self, what: tuple[object, ...], value: Any) -> list[Any]:
        meeting = self._meeting
        try:
            meeting.brought[self.rank] = what, value
            meeting.barrier.wait()
            brought = list(meeting.brought)
            meeting.barrier.wait()
        except threading.BrokenBarrierError:
            raise RanksError(f"rank {self.rank}: another rank did not come") from None
        other = next((rank for rank, (its, _) in enumerate(brought) if its != what), None)
        if other is not None:
            raise RanksError(
                f"rank {self.rank} is at {what} and rank {other} at {brought[other][0]}"
            )
        return [each for _, each in brought]


def threads(size: int, time_limit: float = TIME_LIMIT) -> list[Threads]:
    """The ranks of `size` threads, one for each of them."""
    meeting = _Meeting(size, time_limit)
    return [Threads(rank, size, meeting) for rank in range(size)]
