"""Runs passes in order, verifies the graph after each, and reports the changes.

`check`, if given, is called with the graph before and after each pass: the debug mode uses it to
compare values and to name a pass that changes one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphgrad.errors import PassError
from graphgrad.graph import Graph, Node, TensorType, leaf_name, verify
from graphgrad.graph.verify import Verified

Pass = Callable[[Graph], Graph]
Check = Callable[[str, Graph, Graph], None]


@dataclass(frozen=True, slots=True)
class PassReport:
    """The report of one pass: nodes before and after, new nodes, seconds."""

    name: str
    nodes_before: int
    nodes_after: int
    new_nodes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.name:<16} {self.nodes_before:>6} -> {self.nodes_after:>6} nodes, "
            f"{self.new_nodes:>5} new, {self.seconds * 1e3:7.1f} ms"
        )


def _need_same_interface(name: str, before: Graph, after: Graph) -> None:
    """Raises PassError unless the pass has kept the outputs, the updates and their types."""
    if _types(before) == _types(after):
        return
    old, new = _interface(before), _interface(after)
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            was, now = (types.get(key, "missing") for types in (old, new))
            raise PassError(f"pass {name!r} changes {key}: it was {was}, now it is {now}")


def _types(graph: Graph) -> dict[str | Node, TensorType]:
    outputs = {name: node.type for name, node in graph.outputs.items()}
    return outputs | {leaf: node.type for leaf, node in graph.updates.items()}


def _interface(graph: Graph) -> dict[str, TensorType]:
    outputs = {f"output {name!r}": node.type for name, node in graph.outputs.items()}
    updates = {f"update {leaf_name(n)!r}": new.type for n, new in graph.updates.items()}
    return outputs | updates


def optimise(
    graph: Graph, passes: Sequence[Pass], check: Check | None = None
) -> tuple[Graph, tuple[PassReport, ...]]:
    """The graph after all passes, verified after each, with a report for each."""
    reports: list[PassReport] = []
    known = Verified()
    for run in passes:
        started = time.perf_counter()
        after = run(graph)
        name = run.__name__
        if after is not graph or not reports:
            verify(after, f"the graph after pass {name!r}", known)
        _need_same_interface(name, graph, after)
        seconds = time.perf_counter() - started
        old = set(graph.nodes)
        new = sum(node not in old for node in after.nodes)
        reports.append(PassReport(name, len(graph), len(after), new, seconds))
        if check is not None:
            check(name, graph, after)
        graph = after
    return graph, tuple(reports)
