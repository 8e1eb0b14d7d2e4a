"""Checks that a plan is run by as many ranks as it is for."""

from __future__ import annotations

from graphgrad.errors import DeclarationError
from graphgrad.ops.shares import all_gather, broadcast, reduce_scatter
from graphgrad.plan import Plan


def need_ranks(plan: Plan, size: int) -> None:
    """Raises DeclarationError for a graph whose shares are those of another number of ranks, or
    that one rank sends which there is not."""
    for node in plan.graph:
        wanted = node.attributes.get("ranks", size)
        if node.operation in (reduce_scatter, all_gather) and wanted != size:
            raise DeclarationError(
                f"node {plan.graph.name_of(node)!r} ({node.operation.name}) is of {wanted} ranks, "
                f"and the program runs on {size}",
                node.origin,
                f"compile it with the communicator of one of {wanted} ranks",
            )
        if node.operation is broadcast and node.attributes["root"] >= size:
            raise DeclarationError(
                f"node {plan.graph.name_of(node)!r} takes the value of rank "
                f"{node.attributes['root']}, and there are {size} ranks",
                node.origin,
                "ranks are counted from 0",
            )
