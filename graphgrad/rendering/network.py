"""A graph as networkx sees it, for what networkx does well: reachability, dominators, cuts, export.

Imported by its own name only, as networkx takes a quarter of the time of importing the package.
Nodes are keyed by their position, edges run from head to tail and carry the operand's place.
"""

from __future__ import annotations

import networkx

from graphgrad.graph.graph import Graph
from graphgrad.graph.node import Node


def to_networkx(graph: Graph) -> networkx.MultiDiGraph:
    """The graph as a MultiDiGraph with text attributes only, so that every writer can export it."""
    network = networkx.MultiDiGraph()
    for position, node in enumerate(graph.nodes):
        network.add_node(
            position,
            name=graph.name_of(node),
            operation=node.operation.name,
            shape=str(node.type),
            origin=str(node.origin or ""),
        )
        for place, head in enumerate(node.heads):
            network.add_edge(graph.position(head), position, operand=place)
    return network


def dominators(graph: Graph, output: Node) -> tuple[Node, ...]:
    """The nodes through which every way from a leaf to `output` leads, nearest to the leaves first.

    These are the narrow places of a network: where a wrong value must pass, and where to cut.
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
