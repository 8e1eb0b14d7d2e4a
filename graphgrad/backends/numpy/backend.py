"""The NumPy backend: the operations' own computations, and compiled ones that are faster.

`OVERRIDES` maps operations to compiled functions; all others are computed as their blocks say.
llvmlite is optional: without it the same program runs without kernels, with masks made by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from graphgrad.backends.numpy.program_text import render_program
from graphgrad.backends.program import Program, PythonProgram
from graphgrad.backends.ranks_of_plan import need_ranks
from graphgrad.backends.workspaces import Workspaces
from graphgrad.graph import Operation, Shape
from graphgrad.graph.types import DType
from graphgrad.ops.collectives import all_reduce, sum_of_lower_ranks
from graphgrad.ops.indexing import check_indices, scatter_add
from graphgrad.ops.random import dropout_mask, dropout_mask_of_part
from graphgrad.ops.ranking import top
from graphgrad.ops.shares import all_gather, broadcast, rank_number, reduce_scatter
from graphgrad.plan import Plan
from graphgrad.ranks import Communicator, Lone

try:
    from graphgrad.backends.numpy.call_table import link
    from graphgrad.loops.library.philox import fill_dropout_mask
    from graphgrad.loops.library.ranking import top_rows
    from graphgrad.loops.library.rows import add_rows
    from graphgrad.loops.threads import usable_cores
except ImportError:  # without llvmlite
    COMPILES = False
else:
    COMPILES = True


def _dropout_mask(
    out: np.ndarray,
    seed: np.ndarray,
    step: np.ndarray,
    shape: Shape,
    rate: float,
    stream: int,
    dtype: DType,
) -> None:
    fill_dropout_mask(out, int(seed), int(step), stream, rate)


def _dropout_mask_of_part(
    out: np.ndarray,
    seed: np.ndarray,
    step: np.ndarray,
    first: np.ndarray,
    shape: Shape,
    rate: float,
    stream: int,
    dtype: DType,
    each: int,
) -> None:
    fill_dropout_mask(out, int(seed), int(step), stream, rate, start=int(first) * each)


def _scatter_add(out: np.ndarray, indices: np.ndarray, rows: np.ndarray, size: int) -> None:
    check_indices(indices, size, "scatter_add")
    if out.dtype.kind != "b":
        add_rows(out, indices, rows)
        return
    out.fill(False)
    np.logical_or.at(out, indices, rows)  # the sum of booleans, as in NumPy


def _top(out: np.ndarray, x: np.ndarray, k: int) -> None:
    size = x.shape[-1]
    rows, found = np.ascontiguousarray(x).reshape(-1, size), np.empty((x.size // size, k), np.int32)
    left = top_rows(found, rows)
    if left.any():
        found[left] = np.argsort(-rows[left], axis=-1, kind="stable")[:, :k]
    out[...] = found.reshape(out.shape)


OVERRIDES: Mapping[Operation, Callable[..., None]] = (
    {
        dropout_mask: _dropout_mask,
        dropout_mask_of_part: _dropout_mask_of_part,
        scatter_add: _scatter_add,
        top: _top,
    }
    if COMPILES
    else {}
)
"""Computations that are faster than those of the operations' own blocks."""


def lower(
    plan: Plan,
    threads: int | None = None,
    workspaces: Workspaces | None = None,
    communicator: Communicator | None = None,
) -> Program:
    """Lowers a plan to a program. `threads` is the number of threads of fused kernels (default: all
    cores of the process); programs with the same `workspaces` share memory; `communicator` is what
    the collectives of the graph use."""
    ranks: Communicator = communicator or Lone()
    need_ranks(plan, ranks.size)
    source = render_program(plan, {**OVERRIDES, **_collectives(ranks)})
    threads = threads or ranks.cores or usable_cores()
    calls = link(plan, source.calls, threads) if source.calls else None
    return PythonProgram(plan, source, calls, workspaces)


def _collectives(communicator: Communicator) -> Mapping[Operation, Callable[..., None]]:
    """The collectives, as this rank does them."""
    if communicator.size == 1:
        return {}

    def reduce(out: np.ndarray, x: np.ndarray, *before: np.ndarray, kind: str, number: int) -> None:
        communicator.all_reduce(out, x, kind, number)

    def lower_ranks(out: np.ndarray, x: np.ndarray, *before: np.ndarray, number: int) -> None:
        values = communicator.gather(x.tobytes(), number)
        out.fill(
            sum(int(np.frombuffer(value, x.dtype)[0]) for value in values[: communicator.rank])
        )

    def scatter(
        out: np.ndarray, x: np.ndarray, *before: np.ndarray, ranks: int, number: int
    ) -> None:
        communicator.reduce_scatter(out, x, number)

    def join(
        out: np.ndarray, x: np.ndarray, *before: np.ndarray, size: int, ranks: int, number: int
    ) -> None:
        communicator.all_gather(out, x, number)

    def send(out: np.ndarray, x: np.ndarray, *before: np.ndarray, root: int, number: int) -> None:
        communicator.broadcast(out, x, root, number)

    return {
        all_reduce: reduce,
        sum_of_lower_ranks: lower_ranks,
        reduce_scatter: scatter,
        all_gather: join,
        broadcast: send,
        rank_number: lambda out: out.fill(communicator.rank),
    }
