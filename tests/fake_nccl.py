"""A module that stands for CuPy's NCCL, over the driver of fake_cuda.py.

Ranks are threads. An exchange is given to the stream that the call names and is done when that is
waited for; there the ranks meet, and see that all have made the same call.
"""

from __future__ import annotations

import ctypes
import secrets
import threading
from typing import Any

import numpy as np
from cpu_backend import Operation
from fake_cuda import Cuda

_TYPES = (np.float32, np.float64, np.int32, np.int64, np.uint8)
_KINDS = (np.add, np.maximum, np.minimum)


class NcclError(RuntimeError):
    """As CuPy's."""


class _Meeting:
    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=20.0)
        self.brought: list[Any] = [None] * size


class FakeNccl:
    """The module of one process; `meetings` are the groups of all."""

    available = True
    NCCL_FLOAT32, NCCL_FLOAT64, NCCL_INT32, NCCL_INT64, NCCL_UINT8 = range(5)
    NCCL_SUM, NCCL_MAX, NCCL_MIN = range(3)
    NcclError = NcclError

    def __init__(self, cuda: Cuda, meetings: dict[bytes, _Meeting]) -> None:
        self.cuda, self.meetings = cuda, meetings
        self.lock = threading.Lock()

    def get_unique_id(self) -> bytes:
        return secrets.token_bytes(128)

    def NcclCommunicator(self, ndev: int, commId: bytes, rank: int) -> Group:
        return Group(self.cuda, self.meetings.setdefault(commId, _Meeting(ndev)), rank)


class Group:
    """CuPy's `NcclCommunicator`."""

    def __init__(self, cuda: Cuda, meeting: _Meeting, rank: int) -> None:
        self.cuda, self.meeting, self.rank, self.calls = cuda, meeting, rank, list[str]()
        self.aborted = False
        meeting.barrier.wait()

    def allReduce(
        self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int
    ) -> None:
        def done(terms: list[np.ndarray]) -> np.ndarray:
            return _KINDS[op].reduce(np.stack(terms), axis=0)

        self._give("allReduce", sendbuf, recvbuf, count, count, datatype, stream, done, op)

    def reduceScatter(
        self, sendbuf: int, recvbuf: int, recvcount: int, datatype: int, op: int, stream: int
    ) -> None:
        def done(terms: list[np.ndarray]) -> np.ndarray:
            total = _KINDS[op].reduce(np.stack(terms), axis=0)
            return total[self.rank * recvcount :][:recvcount]

        whole = recvcount * self.meeting.barrier.parties
        self._give("reduceScatter", sendbuf, recvbuf, whole, recvcount, datatype, stream, done, op)

    def allGather(self, sendbuf: int, recvbuf: int, count: int, datatype: int, stream: int) -> None:
        whole = count * self.meeting.barrier.parties
        self._give("allGather", sendbuf, recvbuf, count, whole, datatype, stream, np.concatenate)

    def broadcast(
        self, sendbuff: int, recvbuff: int, count: int, datatype: int, root: int, stream: int
    ) -> None:
        self._give(
            "broadcast", sendbuff, recvbuff, count, count, datatype, stream, lambda t: t[root], root
        )

    def abort(self) -> None:
        self.aborted = True
        self.meeting.barrier.abort()

    def _give(
        self,
        name: str,
        source: int,
        target: int,
        given: int,
        got: int,
        datatype: int,
        stream: int,
        done: Any,
        *others: int,
    ) -> None:
        kind = np.dtype(_TYPES[datatype])
        its = self.cuda.streams[stream]
        self.calls.append(name)

        def run() -> None:
            meeting, call = self.meeting, (name, given, datatype, *others)
            meeting.brought[self.rank] = call, _at(source, given, kind).copy()
            meeting.barrier.wait()
            assert all(each[0] == call for each in meeting.brought), "ranks make other calls"
            terms = [each[1] for each in meeting.brought]
            meeting.barrier.wait()
            _at(target, got, kind)[...] = done(terms)

        self.cuda.give(its, run, Operation(its.name, "run"))


def _at(address: int, count: int, kind: np.dtype) -> np.ndarray:
    bytes_there = (ctypes.c_uint8 * (count * kind.itemsize)).from_address(address)
    return np.frombuffer(bytes_there, kind)
