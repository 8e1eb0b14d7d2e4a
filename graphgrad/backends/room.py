"""Predicts whether a program fits into memory, and says what does where it does not.

The memory of a program is known from its plan, so it is compared with what is available before
anything runs. The error names the largest values, and the largest batch that fits: smaller batches
are planned until one does. Memory that runs out later, as other programs take it, gives the same
error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

from graphgrad.errors import EnvironmentLimitError
from graphgrad.graph import Dimension, Graph, Node
from graphgrad.memory import OutOfMemoryError, size_text
from graphgrad.plan import Plan

LARGEST = 3
"""How many values are named."""
PLANS = 8
"""How many smaller batches are planned at most."""
CLOSE = 0.02
"""The share of a batch that fits by which a larger one may fit, too."""
SMALLER = "shorter inputs or a smaller model"

Planned = Callable[[Mapping[str, int]], Plan]
"""The plan for these sizes of the named dimensions."""


class Room(Protocol):
    """Memory in which programs run."""

    @property
    def place(self) -> str:
        """What has the memory, as "this machine"."""

    @property
    def unchecked(self) -> int:
        """Bytes that are taken without a question."""

    def free_bytes(self) -> int | None:
        """How much can be had; None where that is unknown."""

    def missing_bytes(self, plan: Plan) -> int:
        """How much the program of a plan takes beside what is taken by now."""


def need_room(
    graph: Graph, plan: Plan, sizes: Mapping[str, int], room: Room, plan_of: Planned
) -> None:
    """Raises OutOfMemoryError if the program of a plan does not fit."""
    needed = room.missing_bytes(plan)
    if needed <= room.unchecked:
        return
    free = room.free_bytes()
    if free is None or needed <= free:
        return
    problem = f"the program needs {size_text(needed)} of memory on {room.place}, and "
    raise _explained(f"{problem}{size_text(free)} are available", graph, plan, sizes, room, plan_of)


def ran_out(
    problem: EnvironmentLimitError,
    graph: Graph,
    plan: Plan,
    sizes: Mapping[str, int],
    room: Room,
    plan_of: Planned,
) -> OutOfMemoryError:
    """The error of a program whose memory was there when it was planned and is not any more."""
    return _explained(problem.problem, graph, plan, sizes, room, plan_of)


def _explained(
    problem: str,
    graph: Graph,
    plan: Plan,
    sizes: Mapping[str, int],
    room: Room,
    plan_of: Planned,
) -> OutOfMemoryError:
    largest = ", ".join(_listed(plan.graph, node) for node in largest_values(plan))
    return OutOfMemoryError(
        f"{problem}; the largest values are {largest}",
        fix=_fitting(batch_dimension(graph), plan, sizes, room, plan_of),
    )


def largest_values(plan: Plan) -> list[Node]:
    """The values that take most memory, the largest first."""
    kept = {place.root for place in plan.places.values() if place.kind in ("arena", "state")}
    return sorted(kept, key=lambda node: -node.type.nbytes)[:LARGEST]


def _listed(graph: Graph, node: Node) -> str:
    return f"{graph.name_of(node)} ({node.type}, {size_text(node.type.nbytes)})"


def batch_dimension(graph: Graph) -> str:
    """The named dimension along which the inputs hold examples; "" if there is none."""
    first = [node.shape[0] for node in graph.inputs.values() if node.shape]
    names = [str(size) for size in first if isinstance(size, Dimension)]
    return "batch" if "batch" in names else next(iter(names), "")


def _fitting(
    dimension: str, plan: Plan, sizes: Mapping[str, int], room: Room, plan_of: Planned
) -> str:
    """What to do: the batch that fits, if one does."""
    batch, free, needed = sizes.get(dimension, 0), room.free_bytes(), room.missing_bytes(plan)
    if batch <= 1 or free is None or needed <= free:  # the last: others have taken and freed it
        return f"a smaller batch, {SMALLER}"
    fits = largest_fitting(
        batch,
        needed,
        free,
        lambda size: room.missing_bytes(plan_of({**sizes, dimension: size})),
    )
    if not fits:
        return f"{SMALLER}: even {dimension} 1 does not fit"
    return f"{dimension} {fits} fits, instead of {batch}"


def largest_fitting(batch: int, needed: int, free: int, bytes_of: Callable[[int], int]) -> int:
    """A batch that fits, within two hundredths of the largest one where memory grows like a line; 0
    if not even 1 does. `needed` are the bytes of `batch`, which is too large."""
    low, low_bytes, high, high_bytes = 1, bytes_of(1), batch, max(needed, free + 1)
    if low_bytes > free:
        return 0
    for number in range(PLANS):
        if high - low <= max(1, CLOSE * low):
            break
        share = (free - low_bytes) / max(high_bytes - low_bytes, 1)  # where bytes grow like a line
        guess = math.isqrt(low * high) if number % 2 else int(low + share * (high - low))
        guess = min(max(guess, low + 1), high - 1)
        found = bytes_of(guess)
        if found <= free:
            low, low_bytes = guess, found
        else:
            high, high_bytes = guess, found
    return low
