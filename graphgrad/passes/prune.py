"""Removes nodes that no output or update depends on; their names go with them.

A fetched node is an output, so it stays. Inputs stay, too: a program has the inputs of its graph.

    >>> import graphgrad as gg
    >>> y = gg.tanh(gg.input("x", 3), name="y")
    >>> graph = gg.Graph({"y": y, "e": gg.exp(y, name="e")}).with_outputs({"y": y})

Before and after:

    >>> print(graph)
    %0 = input() : float32[3]    # x
    %1 = tanh(%0) : float32[3]    # y
    %2 = exp(%1) : float32[3]    # e
    output y = %1
    >>> print(prune(graph))
    %0 = input() : float32[3]    # x
    %1 = tanh(%0) : float32[3]    # y
    output y = %1
"""

from __future__ import annotations

from graphgrad.graph import Graph


def prune(graph: Graph) -> Graph:
    """The graph without nodes that no output or update depends on; inputs stay."""
    roots = [*graph.outputs.values(), *graph.updates, *graph.updates.values()]
    needed = graph.ancestors(roots)
    needed.update(graph.inputs.values())
    if len(needed) == len(graph):
        return graph
    names = {name: node for name, node in graph.names.items() if node in needed}
    order = [node for node in graph.nodes if node in needed]
    # nodes that later passes declare must not get the name of a removed node
    retired = graph.retired.union(graph.names.keys() - names.keys())
    return graph.changed(names=names, order=order, retired=retired)
