"""Removes the unneeded: keeps what the outputs and updates are computed from, and its names.

Asking for a node by name makes it an output, so what was asked for stays.
"""

from __future__ import annotations

from graphgrad.graph import Graph


def prune(graph: Graph) -> Graph:
    """The graph without nodes that neither an output nor an update needs; inputs stay."""
    roots = [*graph.outputs.values(), *graph.updates, *graph.updates.values()]
    needed = graph.ancestors(roots)
    needed.update(graph.inputs.values())
    if len(needed) == len(graph):
        return graph
    names = {name: node for name, node in graph.names.items() if node in needed}
    order = [node for node in graph.nodes if node in needed]
    # what later passes declare must not be called as something was that is gone
    retired = graph.retired.union(graph.names.keys() - names.keys())
    return graph.changed(names=names, order=order, retired=retired)
