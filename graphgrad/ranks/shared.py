"""Ranks as processes of one machine, which exchange values in memory that they share.

The memory is a file that is mapped by all and has no name any more once they have opened it, so
that nothing stays behind when they are killed. A rank says that it has arrived by counting up its
own counter; nobody writes another's. Who waits sleeps, so that more ranks than cores do not take
time from each other.

A sum is done in chunks. Each rank copies its chunk into its slot; when all have, each adds up its
share of the elements over all slots, in the order of the ranks, into the common result; when all
have, each copies the result. The next chunk may use the slots at once (their sums are done), and
the result is written again only when all ranks have arrived with it.

MPI does the same between machines; between processes of one machine, with fewer cores than ranks,
it loses time by polling.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from graphgrad.errors import EnvironmentLimitError, RanksError
from graphgrad.ranks.communicator import TIME_LIMIT, add_up, share_of

CHUNK = 2**20
"""Bytes of a slot."""
_WORDS = 8
"""Numbers of 64 bits that a rank has for itself: counter, two tags, size of its text, failure."""
_COUNTER, _TAGS, _LENGTH, _FAILED, _PROCESS = 0, 1, 3, 4, 5
_LOOK = 0.05
"""Seconds between two looks whether the others are alive."""
_SPINS = 50
"""How often a waiting rank yields its core before it sleeps."""
_NAP = 5e-5


class Shared:
    """The rank `rank` of `size` processes that have opened the file `path`, made by `create`.

    `is_alive(rank)` tells whether a process can still come; by default by its number.
    """

    def __init__(
        self,
        path: str | Path,
        rank: int,
        size: int,
        time_limit: float = TIME_LIMIT,
        is_alive: Callable[[int], bool] | None = None,
        cores: int | None = None,
    ) -> None:
        self.rank, self.size, self.time_limit, self.cores = rank, size, time_limit, cores
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _total(size))
        words = np.frombuffer(self._memory, np.int64, size * _WORDS)
        self._words = words.reshape(size, _WORDS)
        rest = np.frombuffer(self._memory, np.uint8)[size * _WORDS * 8 :].reshape(-1, CHUNK)
        self._slots, self._texts, self._result = rest[:size], rest[size : 2 * size], rest[2 * size]
        self._is_alive = is_alive or self._runs
        self._words[rank, _PROCESS] = os.getpid()

    def all_reduce(self, out: np.ndarray, x: np.ndarray, kind: str, number: int) -> None:
        """Writes the sum (max, min) of x over the ranks into `out`, which may be x."""
        given = np.ascontiguousarray(x).reshape(-1)
        taken = out.reshape(-1) if out.flags.c_contiguous else np.empty_like(given)
        count = CHUNK // given.itemsize
        what = f"collective {number}: the {kind} of {x.dtype}{list(x.shape)}"
        for start in range(0, given.size, count):
            self._reduce(taken[start : start + count], given[start : start + count], kind, what)
        if not given.size:
            self._meet(what)
        if not out.flags.c_contiguous:
            out[...] = taken.reshape(out.shape)

    def _reduce(self, out: np.ndarray, x: np.ndarray, kind: str, what: str) -> None:
        slots = self._slots_of(x.dtype, x.size)
        result = self._result.view(x.dtype)[: x.size]
        slots[self.rank][...] = x
        self._meet(what)
        share = slice(self.rank * x.size // self.size, (self.rank + 1) * x.size // self.size)
        add_up(result[share], [slot[share] for slot in slots], kind)
        self._meet(what)
        out[...] = result

    def reduce_scatter(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes this rank's share of the sum of x over the ranks into `out`."""
        given = np.ascontiguousarray(x).reshape(-1)
        what = f"collective {number}: shares of the sum of {x.dtype}{list(x.shape)}"
        count = CHUNK // given.itemsize // self.size
        slots = [
            slot.reshape(self.size, count) for slot in self._slots_of(x.dtype, self.size * count)
        ]
        for start in range(0, max(out.size, 1), count):
            for rank in range(self.size):
                part = share_of(given, rank, out.size)[start : start + count]
                slots[self.rank][rank, : part.size] = part
            self._meet(what)
            mine = share_of(given, self.rank, out.size)[start : start + count].size
            add_up(out[start : start + mine], [slot[self.rank, :mine] for slot in slots], "sum")
            out[start + mine : start + count] = 0
            self._meet(what)

    def all_gather(self, out: np.ndarray, x: np.ndarray, number: int) -> None:
        """Writes the shares of all ranks one after the other into `out`."""
        what = f"collective {number}: the shares of {x.dtype}{list(out.shape)}"
        count = CHUNK // x.itemsize
        for start in range(0, max(x.size, 1), count):
            slots = self._slots_of(x.dtype, min(count, x.size - start))
            slots[self.rank][...] = x[start : start + count]
            self._meet(what)
            for rank, slot in enumerate(slots):
                part = share_of(out, rank, x.size)[start : start + count]
                part[...] = slot[: part.size]
            self._meet(what)

    def broadcast(self, out: np.ndarray, x: np.ndarray, root: int, number: int) -> None:
        """Writes the x of one rank into `out`."""
        what = f"collective {number}: {x.dtype}{list(x.shape)} of rank {root}"
        given, count = np.ascontiguousarray(x).reshape(-1), CHUNK // x.itemsize
        taken = np.empty_like(given)
        for start in range(0, max(x.size, 1), count):
            part = given[start : start + count]
            slot = self._slots_of(x.dtype, part.size)[root]
            if self.rank == root:
                slot[...] = part
            self._meet(what)
            taken[start : start + count] = slot
            self._meet(what)
        out[...] = taken.reshape(out.shape)

    def _slots_of(self, dtype: np.dtype[Any], size: int) -> list[np.ndarray]:
        """The first elements of the slots of all ranks."""
        return [slot.view(dtype)[:size] for slot in self._slots]

    def gather(self, value: bytes, number: int, patient: bool = False) -> list[bytes]:
        """The values of all ranks, of at most `CHUNK` bytes, on each of them."""
        if len(value) > CHUNK:
            raise ValueError(f"a value of {len(value)} bytes is longer than {CHUNK}")
        what = f"message {number}"
        self._texts[self.rank][: len(value)] = np.frombuffer(value, np.uint8)
        self._words[self.rank, _LENGTH] = len(value)
        self._meet(what, patient)
        lengths = self._words[:, _LENGTH].tolist()
        values = [self._texts[rank][:n].tobytes() for rank, n in enumerate(lengths)]
        self._meet(what, patient)
        return values

    def fail(self, reason: str) -> None:
        """Lets the others know that this rank comes to no further call, and why."""
        text = reason.encode("utf-8", "replace")[:4096]
        self._texts[self.rank][: len(text)] = np.frombuffer(text, np.uint8)
        self._words[self.rank, _LENGTH] = len(text)
        self._words[self.rank, _FAILED] = 1

    def _meet(self, what: str, patient: bool = False) -> None:
        """Waits until all ranks are here, and makes sure that they are here for the same."""
        mine = self._words[self.rank]
        turn = int(mine[_COUNTER]) + 1
        place = _TAGS + turn % 2  # nobody can be two meetings ahead
        mine[place] = zlib.crc32(what.encode())
        mine[_COUNTER] = turn
        counters = self._words[:, _COUNTER]
        started = looked = time.monotonic()
        spins = 0
        while int(counters.min()) < turn:
            time.sleep(0.0 if spins < _SPINS else _NAP)
            spins += 1
            now = time.monotonic()
            if now - looked > _LOOK:
                looked = now
                self._look(turn)
                if not patient and now - started > self.time_limit:
                    late = [str(r) for r in range(self.size) if counters[r] < turn]
                    raise RanksError(
                        f"rank {self.rank} has waited {self.time_limit:g} seconds at {what} for "
                        f"rank {', '.join(late)}",
                        fix="see what that process does; a longer time limit if it was only slow",
                    )
        tags = self._words[:, place]
        if (tags != tags[self.rank]).any():
            other = int(np.flatnonzero(tags != tags[self.rank])[0])
            raise RanksError(
                f"rank {self.rank} is at {what}, and rank {other} somewhere else",
                fix="start all ranks with the same program, settings and data",
            )

    def _look(self, turn: int) -> None:
        """Raises RanksError if a rank that has not come will not come."""
        for rank in range(self.size):
            if self._words[rank, _COUNTER] >= turn:
                continue
            if self._words[rank, _FAILED]:
                length = int(self._words[rank, _LENGTH])
                reason = self._texts[rank][:length].tobytes().decode("utf-8", "replace")
                raise RanksError(f"rank {rank} has failed: {reason}")
            if not self._is_alive(rank):
                raise RanksError(f"the process of rank {rank} has ended")

    def _runs(self, rank: int) -> bool:
        process = int(self._words[rank, _PROCESS])
        if not process:
            return True  # it has not opened the memory yet
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


def _total(size: int) -> int:
    return size * _WORDS * 8 + (2 * size + 1) * CHUNK


def create(size: int) -> Path:
    """A file with the memory of `size` ranks, in memory where the system has such files. Whoever
    makes it removes it when all ranks have opened it. Raises EnvironmentLimitError."""
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    try:
        number, path = tempfile.mkstemp(prefix="graphgrad-ranks-", dir=folder)
        with os.fdopen(number, "wb") as file:
            file.write(bytes(_total(size)))  # written out, so that a full disk is found now
    except OSError as problem:
        raise EnvironmentLimitError(
            f"the memory that {size} ranks share cannot be made: {problem.strerror}",
            fix=f"{_total(size) / 2**20:.0f} MiB are needed in {folder or tempfile.gettempdir()}",
        ) from None
    return Path(path)
