"""Ranks with a device each, connected by NCCL.

What a program exchanges goes from device to device; the host's connection (shared memory or MPI) is
needed to begin, and where something goes wrong. A sum is NCCL's, which adds in an order that
follows from sizes and devices: all ranks have the same bits, and two runs on the same machines have
them. Floats of 16 bits are gathered and added up in float32, in the order of the ranks, so that
their sum is rounded once, as on processors.

All exchanges are given to a stream of their own, in the order of the program. A sum that is started
begins behind what has made its terms, and the stream of the work waits for it where it is read; so
the device computes meanwhile, and the host waits for nothing. Whether all ranks came is asked when
the results of a step are read, with the time limit of the host's connection.
"""

from __future__ import annotations

import time
from typing import Any

from graphgrad.backends.cupy.device import Computation, Event
from graphgrad.errors import EnvironmentLimitError, RanksError
from graphgrad.graph import Operation
from graphgrad.ops.collectives import all_reduce, all_reduce_start, sum_of_lower_ranks, wait
from graphgrad.ops.shares import (
    all_gather,
    all_gather_start,
    broadcast,
    rank_number,
    reduce_scatter,
    reduce_scatter_start,
)
from graphgrad.ranks import Communicator

INSTALL = "python -m pip install nvidia-nccl-cu13 (or nvidia-nccl-cu12 for CUDA 12)"
UNIQUE, LOST = -4, -5
"""The numbers of the host's messages: NCCL's name of the group, and who is still there."""
_NAP = 1e-4
_TYPES = {
    "float32": "NCCL_FLOAT32",
    "float64": "NCCL_FLOAT64",
    "int32": "NCCL_INT32",
    "int64": "NCCL_INT64",
    "uint8": "NCCL_UINT8",
}
_KINDS = {"sum": "NCCL_SUM", "max": "NCCL_MAX", "min": "NCCL_MIN"}


class CupyRanks:
    """The collectives of a rank on its device. Raises EnvironmentLimitError without NCCL, and where
    two ranks have the same device."""

    def __init__(self, cupy: Any, stream: Any, host: Communicator) -> None:
        self._nccl, self._stream, self._host = cupy.cuda.nccl, stream, host
        self._event = cupy.cuda.Event
        if not getattr(self._nccl, "available", False):
            raise EnvironmentLimitError(
                "several ranks on devices need NCCL, which CuPy does not find", fix=INSTALL
            )
        name = self._nccl.get_unique_id() if host.rank == 0 else b""
        name = host.gather(bytes(name), UNIQUE)[0]
        try:
            self._group = self._nccl.NcclCommunicator(host.size, name, host.rank)
        except RuntimeError as problem:
            raise EnvironmentLimitError(
                f"NCCL cannot connect the devices of {host.size} ranks: {problem}",
                fix="a device for each rank (CUDA_VISIBLE_DEVICES says which a process has)",
            ) from None
        self._own = cupy.cuda.Stream(non_blocking=True)
        self._started: dict[int, Any] = {}

    @property
    def computations(self) -> dict[Operation, Computation]:
        """How each collective is computed here."""
        return {
            all_reduce: self._reduce,
            all_reduce_start: self._start,
            wait: self._wait,
            sum_of_lower_ranks: self._lower_ranks,
            **dict.fromkeys((reduce_scatter, reduce_scatter_start), self._scatter),
            **dict.fromkeys((all_gather, all_gather_start), self._join),
            broadcast: self._broadcast,
            rank_number: lambda xp, out: out.fill(self._host.rank),
        }

    def settle(self, event: Event) -> None:
        """Returns when the stream has passed an event. Raises RanksError, which names who is lost,
        where that lasts longer than the time limit."""
        began = time.monotonic()
        while not event.done():
            if time.monotonic() - began > self._host.time_limit:
                self._group.abort()
                self._host.gather(b"", LOST)  # names the process that has ended
                raise RanksError(
                    f"rank {self._host.rank} has waited {self._host.time_limit:g} seconds for the "
                    "exchanges of a step, and all ranks are there",
                    fix="see what NCCL says with NCCL_DEBUG=INFO",
                )
            time.sleep(_NAP)

    # ------------------------------------------------------------ collectives

    def _start(self, xp: Any, out: Any, x: Any, *before: Any, kind: str, number: int) -> None:
        _copied(xp, out, x)
        self._started[number] = self._given(xp, lambda: self._summed(xp, out, kind))

    def _wait(self, xp: Any, out: Any, started: Any, *kept: Any, number: int) -> None:
        if number in self._started:  # shares are waited for where they are exchanged
            self._stream.wait_event(self._started.pop(number))
        _copied(xp, out, started)

    def _reduce(self, xp: Any, out: Any, x: Any, *before: Any, kind: str, number: int) -> None:
        row = out if out.flags.c_contiguous else xp.empty(x.shape, x.dtype)
        _copied(xp, row, x)
        self._now(xp, lambda: self._summed(xp, row, kind))
        _copied(xp, out, row)

    def _summed(self, xp: Any, row: Any, kind: str) -> None:
        """Replaces contiguous values by their sum over the ranks."""
        if not row.size:
            return
        if row.dtype.itemsize == 2:
            whole = xp.empty((self._host.size, row.size), row.dtype)
            self._gathered(whole, row)
            _added(xp, row, whole)
            return
        place, operation = int(row.data.ptr), getattr(self._nccl, _KINDS[kind])
        self._group.allReduce(place, place, row.size, self._type(row), operation, self._own.ptr)

    def _scatter(self, xp: Any, out: Any, x: Any, *before: Any, number: int, **_: int) -> None:
        ranks, rank, length = self._host.size, self._host.rank, out.size
        row = xp.zeros(ranks * length, x.dtype)
        row[: x.size] = x.reshape(-1)
        if x.dtype.itemsize == 2:
            whole = xp.empty((ranks, row.size), x.dtype)
            self._now(xp, lambda: self._gathered(whole, row))
            _added(xp, out, whole[:, rank * length : (rank + 1) * length])
            return
        part = xp.empty(length, x.dtype)
        given, got = int(row.data.ptr), int(part.data.ptr)
        kind, total = self._type(row), self._nccl.NCCL_SUM
        self._now(
            xp,
            lambda: self._group.reduceScatter(given, got, length, kind, total, self._own.ptr),
        )
        xp.copyto(out, part)

    def _join(self, xp: Any, out: Any, x: Any, *before: Any, number: int, **_: int) -> None:
        whole = xp.empty((self._host.size, x.size), x.dtype)
        row = xp.ascontiguousarray(x)
        self._now(xp, lambda: self._gathered(whole, row))
        xp.copyto(out, whole.reshape(-1)[: out.size].reshape(out.shape))

    def _broadcast(self, xp: Any, out: Any, x: Any, *before: Any, root: int, number: int) -> None:
        row = xp.ascontiguousarray(x).copy()
        place, size = int(row.data.ptr), row.nbytes
        byte = self._nccl.NCCL_UINT8
        self._now(xp, lambda: self._group.broadcast(place, place, size, byte, root, self._own.ptr))
        xp.copyto(out, row)

    def _lower_ranks(self, xp: Any, out: Any, x: Any, *before: Any, number: int) -> None:
        whole = xp.empty((self._host.size, 1), x.dtype)
        row = xp.ascontiguousarray(x).reshape(1)
        self._now(xp, lambda: self._gathered(whole, row))
        xp.copyto(out, whole[: self._host.rank, 0].sum().astype(out.dtype))

    # ------------------------------------------------------------ streams

    def _gathered(self, whole: Any, row: Any) -> None:
        """Writes the contiguous values of all ranks side by side."""
        given, got = int(row.data.ptr), int(whole.data.ptr)
        if row.nbytes:
            byte = self._nccl.NCCL_UINT8
            self._group.allGather(given, got, row.nbytes, byte, self._own.ptr)

    def _given(self, xp: Any, exchange: Any) -> Any:
        """Gives an exchange to its stream, behind all work so far; the point behind it."""
        ready = self._event(disable_timing=True)
        ready.record(self._stream)
        self._own.wait_event(ready)
        with self._own:
            exchange()
        done = self._event(disable_timing=True)
        done.record(self._own)
        return done

    def _now(self, xp: Any, exchange: Any) -> None:
        """Gives an exchange to its stream; further work waits for it."""
        self._stream.wait_event(self._given(xp, exchange))

    def _type(self, row: Any) -> int:
        return int(getattr(self._nccl, _TYPES[str(row.dtype)]))


def _added(xp: Any, out: Any, terms: Any) -> None:
    """Adds floats of 16 bits up in float32, in the order of the ranks."""
    total = xp.empty(terms[0].shape, xp.float32)
    xp.copyto(total, terms[0])
    for rank in range(1, len(terms)):
        xp.add(total, terms[rank], out=total)
    xp.copyto(out.reshape(-1), total, casting="unsafe")


def _copied(xp: Any, out: Any, x: Any) -> None:
    """Copies x, unless it is the same memory."""
    if int(out.data.ptr) != int(x.data.ptr) or out.strides != x.strides:
        xp.copyto(out, x)
