"""Ranks as threads of one process, for tests and for a look at what a split graph computes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from graphgrad.errors import RanksError
from graphgrad.ranks.communicator import REDUCE, TIME_LIMIT


class _Meeting:
    """Where the threads meet."""

    def __init__(self, size: int, time_limit: float) -> None:
        self.barrier = threading.Barrier(size, timeout=time_limit)
        self.brought: list[Any] = [None] * size


class Threads:
    """The rank of one thread."""

    def __init__(self, rank: int, size: int, meeting: _Meeting) -> None:
        self.rank, self.size, self._meeting = rank, size, meeting
        self.cores: int | None = None

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        arrays = self._exchanged((number, kind, x.shape, str(x.dtype)), x.copy())
        np.copyto(out, arrays[0])
        with np.errstate(all="ignore"):  # infinities and NaN are values like others
            for array in arrays[1:]:
                REDUCE[kind](out, array, out=out)

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
