"""Converts a graph to networkx, for reachability, dominators, cuts and export.

No other module imports this one, as importing networkx takes a quarter of the time of importing the
package. Nodes are keyed by their position; edges lead from head to tail and have the position of
the head in the tail as `operand`.
"""

from __future__ import annotations

import networkx

from graphgrad.graph.graph import Graph
from graphgrad.graph.node import Node


def to_networkx(graph: Graph) -> networkx.MultiDiGraph:
    """The graph as a MultiDiGraph; node attributes are texts, so that every writer can export
    it."""
    network = networkx.MultiDiGraph()
    for position, node in enumerate(graph.nodes):
        network.add_node(
            position,
            name=graph.name_of(node),
            operation=node.operation.name,
            shape=str(node.type),
            origin=str(node.origin or ""),
        )
        for operand, head in enumerate(node.heads):
            network.add_edge(graph.position(head), position, operand=operand)
    return network


def dominators(graph: Graph, output: Node) -> tuple[Node, ...]:
    """The nodes on every path from a leaf to `output`, nearest to the leaves first.

    They are the bottlenecks of a network: every wrong value passes them, and a cut there separates
    the leaves from the output.
    """
    network = networkx.DiGraph()
    needed = graph.ancestors([output])
    for node in graph.nodes:
        if node in needed:
            position = graph.position(node)
            if not node.heads:
                network.add_edge(-1, position)
            network.add_edges_from((graph.position(head), position) for head in node.heads)
    immediate = networkx.immediate_dominators(network, -1)
    chain: list[Node] = []
    position = graph.position(output)
    while immediate.get(position, -1) not in (-1, None):
        position = immediate[position]
        chain.append(graph.nodes[position])
    return tuple(reversed(chain))
