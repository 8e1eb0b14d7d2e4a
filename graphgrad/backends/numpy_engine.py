"""The NumPy engine: every operation's own computation, and compiled kernels where they win.

An engine is a table of overrides; an operation without one is computed as its block says. llvmlite
is optional: without it the same program runs, with dropout masks made by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from graphgrad.backends.program import Program
from graphgrad.backends.source import print_program
from graphgrad.backends.workspaces import Workspaces
from graphgrad.graph import Operation, Shape
from graphgrad.graph.types import DType
from graphgrad.ops.indexing import check_indices, scatter_add
from graphgrad.ops.random import dropout_mask
from graphgrad.ops.ranking import top
from graphgrad.plan import Plan

try:
    from graphgrad.backends.calls import link
    from graphgrad.loops.philox_compiled import fill_dropout_mask
    from graphgrad.loops.ranking_compiled import top_rows
    from graphgrad.loops.rows_compiled import add_rows
    from graphgrad.loops.threads import usable_cores
except ImportError:  # without llvmlite the same program runs plain, and NumPy makes the masks
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


def _scatter_add(out: np.ndarray, indices: np.ndarray, rows: np.ndarray, size: int) -> None:
    check_indices(indices, size, "scatter_add")
    if out.dtype.kind != "b":
        add_rows(out, indices, rows)
        return
    out.fill(False)
    np.logical_or.at(out, indices, rows)  # as NumPy adds truth values


def _top(out: np.ndarray, x: np.ndarray, k: int) -> None:
    size = x.shape[-1]
    rows, found = np.ascontiguousarray(x).reshape(-1, size), np.empty((x.size // size, k), np.int32)
    left = top_rows(found, rows)
    if left.any():
        found[left] = np.argsort(-rows[left], axis=-1, kind="stable")[:, :k]
    out[...] = found.reshape(out.shape)


OVERRIDES: Mapping[Operation, Callable[..., None]] = (
    {dropout_mask: _dropout_mask, scatter_add: _scatter_add, top: _top} if COMPILES else {}
)
"""What this engine computes better than the operation's own block."""


def lower(plan: Plan, threads: int | None = None, workspaces: Workspaces | None = None) -> Program:
    """The program of a plan; `threads` is for fused kernels (default: all cores of the process),
    `workspaces` are for programs that share their memory."""
    source = print_program(plan, OVERRIDES)
    calls = link(plan, source.calls, threads or usable_cores()) if source.calls else None
    return Program(plan, source, calls, workspaces)
