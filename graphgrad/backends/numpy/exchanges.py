"""The collectives of a program, as the ranks of a communicator do them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

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
from graphgrad.ranks import Beside

Computation = Callable[..., None]


def collectives_of(ranks: Beside) -> Mapping[Operation, Computation]:
    """The computations of collectives. A lone rank has what it would wait for."""
    if ranks.size == 1:
        return dict.fromkeys((all_reduce, all_reduce_start, wait), _alone)

    def reduce(out: np.ndarray, x: np.ndarray, *before: np.ndarray, kind: str, number: int) -> None:
        ranks.all_reduce(out, x, kind, number)

    def start(out: np.ndarray, x: np.ndarray, *before: np.ndarray, kind: str, number: int) -> None:
        _copied(out, x)
        ranks.start(out, kind, number)

    def wait_for(out: np.ndarray, started: np.ndarray, *kept: np.ndarray, number: int) -> None:
        ranks.wait(number)
        _copied(out, started)

    def lower_ranks(out: np.ndarray, x: np.ndarray, *before: np.ndarray, number: int) -> None:
        values = ranks.gather(x.tobytes(), number)
        out.fill(sum(int(np.frombuffer(value, x.dtype)[0]) for value in values[: ranks.rank]))

    def scatter(out: np.ndarray, x: np.ndarray, *before: np.ndarray, number: int, **_: int) -> None:
        ranks.reduce_scatter(out, x, number)

    def join(out: np.ndarray, x: np.ndarray, *before: np.ndarray, number: int, **_: int) -> None:
        ranks.all_gather(out, x, number)

    def start_scatter(
        out: np.ndarray, x: np.ndarray, *before: np.ndarray, number: int, **_: int
    ) -> None:
        ranks.begin(number, lambda: ranks.communicator.reduce_scatter(out, x, number))

    def start_join(
        out: np.ndarray, x: np.ndarray, *before: np.ndarray, number: int, **_: int
    ) -> None:
        ranks.begin(number, lambda: ranks.communicator.all_gather(out, x, number))

    def send(out: np.ndarray, x: np.ndarray, *before: np.ndarray, root: int, number: int) -> None:
        ranks.broadcast(out, x, root, number)

    return {
        all_reduce: reduce,
        all_reduce_start: start,
        wait: wait_for,
        sum_of_lower_ranks: lower_ranks,
        reduce_scatter: scatter,
        all_gather: join,
        reduce_scatter_start: start_scatter,
        all_gather_start: start_join,
        broadcast: send,
        rank_number: lambda out: out.fill(ranks.rank),
    }


def _alone(out: np.ndarray, x: np.ndarray, *others: np.ndarray, **_: object) -> None:
    _copied(out, x)


def _copied(out: np.ndarray, x: np.ndarray) -> None:
    """Copies x, unless it is the same memory."""
    if out.ctypes.data != x.ctypes.data or out.strides != x.strides:
        np.copyto(out, x)
