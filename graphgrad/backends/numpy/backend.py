"""The NumPy backend: the operations' own computations, and compiled ones that are faster.

`OVERRIDES` maps operations to compiled functions; all others are computed as their blocks say.
llvmlite is optional: without it the same program runs without kernels, with masks made by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from graphgrad.backends.numpy.exchanges import collectives_of
from graphgrad.backends.numpy.product_classes import SMALLEST, Rates, choice
from graphgrad.backends.numpy.product_groups import own_products, product_shapes
from graphgrad.backends.numpy.program_text import render_program
from graphgrad.backends.program import Program, PythonProgram
from graphgrad.backends.ranks_of_plan import need_ranks
from graphgrad.backends.workspaces import Workspaces
from graphgrad.fusion import Group
from graphgrad.graph import Operation, Shape
from graphgrad.graph.types import DType
from graphgrad.ops.indexing import check_indices, scatter_add
from graphgrad.ops.random import dropout_mask, dropout_mask_of_part
from graphgrad.ops.ranking import top
from graphgrad.plan import Plan
from graphgrad.ranks import Beside, Communicator, Lone
from graphgrad.schedule import Schedule

try:
    from graphgrad.backends.numpy.call_table import link
    from graphgrad.backends.numpy.product_choice import kept_rates, measured_rates
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


def threads_of(communicator: Communicator | None) -> int:
    """The number of threads of kernels."""
    return (communicator.cores if communicator is not None else 0) or usable_cores()


def rates_here(measure: bool = True) -> Rates | None:
    """The rates of products on this machine: as they are kept, or else measured if that is
    wanted."""
    if not COMPILES:
        return None
    threads = usable_cores()
    return measured_rates(threads) if measure else kept_rates(threads)


def with_own_products(
    schedule: Schedule,
    groups: Sequence[Group],
    threads: int,
    rates: Rates | None = None,
    joined: bool = True,
) -> tuple[list[Group], Rates | None]:
    """The groups, with those products in kernels of our own that are faster there, `joined` with
    the regions that read them; and the rates that decided, if any product is large enough.

    `rates` are those to go by; they are measured where there are none.
    """
    shapes = product_shapes(schedule, groups)
    if not any(shape.operations >= SMALLEST for shape in shapes.values()):
        return list(groups), None
    rates = measured_rates(threads) if rates is None else rates
    takes = choice(list(shapes.values()), rates)
    ours = {number: shape for number, shape in shapes.items() if takes(shape)}
    return own_products(schedule, groups, ours, joined), rates


def lower(
    plan: Plan,
    threads: int | None = None,
    workspaces: Workspaces | None = None,
    communicator: Communicator | None = None,
) -> Program:
    """Lowers a plan to a program. `threads` is the number of threads of fused kernels (default: all
    cores of the process); programs with the same `workspaces` share memory; `communicator` is what
    the collectives of the graph use."""
    ranks = communicator if isinstance(communicator, Beside) else Beside(communicator or Lone())
    need_ranks(plan, ranks.size)
    source = render_program(plan, {**OVERRIDES, **collectives_of(ranks)})
    threads = threads or threads_of(ranks)
    calls = link(plan, source.calls, threads) if source.calls else None
    return PythonProgram(plan, source, calls, workspaces, ranks.settle)
