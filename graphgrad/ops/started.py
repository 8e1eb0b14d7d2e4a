"""Collectives of shares that are begun: their results are there when their `wait` is over.

The result has a place of its own, and what is sent is read until then: so the wait has that as a
second head, and its memory is left alone. (`all_reduce_start` sends what it has in its own place.)
"""

from __future__ import annotations

from graphgrad.graph.node import Operation
from graphgrad.ops.shares import all_gather, reduce_scatter


def _started(collective: Operation) -> Operation:
    return Operation(
        f"{collective.name}_start",
        collective.infer,
        f"{collective.formula}, which is begun",
        collective.compute,
        collective.delta,
        collective.delta_formula,
        collective.samples,
        collective=True,
        reads=collective.reads,
        takes_halves=collective.takes_halves,
    )


reduce_scatter_start = _started(reduce_scatter)
"""Begins to scatter a sum over ranks; nothing but its `wait` may read it."""
all_gather_start = _started(all_gather)
"""Begins to gather shares of all ranks; nothing but its `wait` may read it."""

OPERATIONS: tuple[Operation, ...] = (reduce_scatter_start, all_gather_start)
