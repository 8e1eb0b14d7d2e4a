"""Ranks that mpiexec has started, on one machine or on several, connected by MPI.

mpi4py is imported where a rank is one of several and nowhere else: a lone process needs none of it.
Sums are not left to MPI, whose order of adding depends on sizes and on the library: each rank gets
its share of the elements from all others, adds them up in the order of the ranks, and hands the
sums to all. So all ranks have the same bits here too.

Every exchange is begun without waiting and then asked for, so that a rank that does not come is
found by a time limit, and a failure that another one reports is found at once.
"""

from __future__ import annotations

import importlib
import os
import time
import zlib
from typing import Any

import numpy as np

from graphgrad.errors import EnvironmentLimitError, RanksError
from graphgrad.ranks.communicator import TIME_LIMIT, add_up, share_of

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
"""The variables by which mpiexec tells a process how many there are: MPICH's, Open MPI's."""
NEIGHBOURS = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
"""Those that count the processes on the same machine."""
PLACES = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK")
"""Those that number them."""
_FAILED = 7
"""The tag of a message that a rank has failed."""
_NAP = 5e-5


def ranks_of_mpi() -> int:
    """How many ranks mpiexec has started; 1 where it has not started this process."""
    return _first(SIZES)


def place_on_machine() -> int:
    """The number of this rank among those that mpiexec has started on this machine, from 0."""
    return _first(PLACES, 0)


def _first(names: tuple[str, ...], otherwise: int = 1) -> int:
    found = [os.environ[name] for name in names if os.environ.get(name, "").isdecimal()]
    return int(found[0]) if found else otherwise


class Mpi:
    """This process among those that mpiexec has started. Raises EnvironmentLimitError without
    mpi4py."""

    def __init__(self, time_limit: float = TIME_LIMIT, usable: int | None = None) -> None:
        try:
            self._mpi: Any = importlib.import_module("mpi4py.MPI")
        except (ImportError, RuntimeError) as problem:
            raise EnvironmentLimitError(
                f"ranks that mpiexec starts need mpi4py and an MPI: {problem}",
                fix="python -m pip install 'graphgrad[mpi]', in the environment of each rank",
            ) from None
        self._world: Any = self._mpi.COMM_WORLD.Dup()
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        self.time_limit = time_limit
        self.cores = None if usable is None else max(1, usable // _first(NEIGHBOURS))

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        """Writes the sum (max, min) of x over the ranks into `out`, which may be x."""
        what = f"collective {number}: the {kind} of {x.dtype}{list(x.shape)}"
        self._agree(what)
        given = np.ascontiguousarray(x).reshape(-1)
        mine = np.empty(-(-given.size // self.size), given.dtype)
        self._scattered(mine, given, kind, what)
        whole = np.empty_like(given)
        self._gathered(whole, mine, what)
        out[...] = whole.reshape(out.shape)

    def reduce_scatter(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes this rank's share of the sum of x over the ranks into `out`."""
        what = f"collective {number}: shares of the sum of {x.dtype}{list(x.shape)}"
        self._agree(what)
        self._scattered(out, np.ascontiguousarray(x).reshape(-1), "sum", what)

    def all_gather(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes the shares of all ranks one after the other into `out`."""
        what = f"collective {number}: the shares of {x.dtype}{list(out.shape)}"
        self._agree(what)
        self._gathered(out, np.ascontiguousarray(x), what)

    def broadcast(self, out: np.ndarray, x: np.ndarray, root: int, number: int) -> None:
        """Writes the x of one rank into `out`."""
        what = f"collective {number}: {x.dtype}{list(x.shape)} of rank {root}"
        self._agree(what)
        sent = np.ascontiguousarray(x).reshape(-1).view(np.uint8).copy()
        self._done(self._world.Ibcast([sent, self._mpi.BYTE], root), what)
        out[...] = sent.view(x.dtype).reshape(out.shape)

    def _scattered(self, out: np.ndarray, x: np.ndarray, kind: str, what: str) -> None:
        """Each rank gets its share of a row from all others, and adds it up."""
        counts, starts = self._shares(x.size, out.size, x.itemsize)
        mine = counts[self.rank]
        terms = np.empty((self.size, mine // x.itemsize), x.dtype)
        sent = [_bytes_of(x), counts, starts, self._mpi.BYTE]
        places = [mine * rank for rank in range(self.size)]
        got = [_bytes_of(terms), [mine] * self.size, places, self._mpi.BYTE]
        self._done(self._world.Ialltoallv(sent, got), what)
        add_up(out[: terms.shape[1]], list(terms), kind)
        out[terms.shape[1] :] = 0

    def _gathered(self, out: np.ndarray, x: np.ndarray, what: str) -> None:
        counts, starts = self._shares(out.size, x.size, x.itemsize)
        own = share_of(out, self.rank, x.size)
        own[...] = x[: own.size]
        parts = [_bytes_of(out), counts, starts, self._mpi.BYTE]
        self._done(self._world.Iallgatherv(self._mpi.IN_PLACE, parts), what)

    def _shares(self, size: int, length: int, width: int) -> tuple[list[int], list[int]]:
        """The bytes of the shares of a row, and where they begin."""
        starts = [min(rank * length, size) for rank in range(self.size)]
        counts = [min(start + length, size) - start for start in starts]
        return [width * count for count in counts], [width * start for start in starts]

    def gather(self, value: bytes, number: int, patient: bool = False) -> list[bytes]:
        """The values of all ranks, on each of them."""
        what = f"message {number}"
        self._agree(what, patient)
        lengths = np.empty(self.size, np.int64)
        self._done(self._world.Iallgather(np.array([len(value)]), lengths), what)
        starts = np.cumsum([0, *lengths[:-1]])
        joined = np.empty(int(lengths.sum()), np.uint8)
        own = np.frombuffer(value, np.uint8)
        parts = [joined, lengths.tolist(), starts.tolist(), self._mpi.BYTE]
        self._done(self._world.Iallgatherv([own, self._mpi.BYTE], parts), what)
        places = zip(starts, lengths, strict=True)
        return [joined[start : start + length].tobytes() for start, length in places]

    def fail(self, reason: str) -> None:
        """Lets the others know that this rank comes to no further call, and why."""
        text = np.frombuffer(reason.encode("utf-8", "replace")[:4096], np.uint8)
        sent = [
            self._world.Isend([text, self._mpi.BYTE], rank, _FAILED)
            for rank in range(self.size)
            if rank != self.rank
        ]
        until = time.monotonic() + 1.0
        while time.monotonic() < until and not self._mpi.Request.Testall(sent):
            time.sleep(_NAP)

    def abort(self, code: int) -> None:
        """Ends all ranks: one that is lost would keep the others from ending."""
        self._mpi.COMM_WORLD.Abort(code)

    def _agree(self, what: str, patient: bool = False) -> None:
        """Makes sure that all ranks are here for the same."""
        tags = np.empty(self.size, np.int64)
        own = np.array([zlib.crc32(what.encode())])
        self._done(self._world.Iallgather(own, tags), what, patient)
        if (tags != own).any():
            other = int(np.flatnonzero(tags != own)[0])
            raise RanksError(
                f"rank {self.rank} is at {what}, and rank {other} somewhere else",
                fix="start all ranks with the same program, settings and data",
            )

    def _done(self, request: Any, what: str, patient: bool = False) -> None:
        """Waits for an exchange. Raises RanksError where a rank has failed or does not come."""
        started = time.monotonic()
        status = self._mpi.Status()
        while not request.Test():
            if self._world.Iprobe(self._mpi.ANY_SOURCE, _FAILED, status):
                text = np.empty(status.Get_count(self._mpi.BYTE), np.uint8)
                self._world.Recv([text, self._mpi.BYTE], status.Get_source(), _FAILED)
                reason = text.tobytes().decode("utf-8", "replace")
                raise RanksError(f"rank {status.Get_source()} has failed: {reason}")
            if not patient and time.monotonic() - started > self.time_limit:
                raise RanksError(
                    f"rank {self.rank} has waited {self.time_limit:g} seconds at {what} for others",
                    fix="see what the other ranks do; a longer time limit if they were only slow",
                )
            time.sleep(_NAP)


def _bytes_of(x: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous array, which MPI takes for every dtype."""
    return x.reshape(-1).view(np.uint8)
