"""The networkx view: the same nodes and edges, and the narrow places of a network."""

from __future__ import annotations

import io

import networkx

import graphgrad as gg
from graphgrad import Graph
from graphgrad.rendering.network import dominators, to_networkx


def residual() -> Graph:
    x, w = gg.input("x", (2, 3)), gg.parameter("w", (3, 3))
    a = gg.matmul(x, w, name="a")
    narrow = gg.tanh(a, name="narrow")
    left, right = gg.exp(narrow, name="left"), gg.sin(narrow, name="right")
    joined = gg.add(left, right, name="joined")
    return Graph({"y": gg.sum(joined * joined, name="y")})


def test_nodes_and_edges_are_those_of_the_graph():
    graph = residual()
    network = to_networkx(graph)
    assert network.number_of_nodes() == len(graph)
    assert network.number_of_edges() == sum(len(node.heads) for node in graph)
    assert networkx.is_directed_acyclic_graph(network)
    narrow = graph.position(graph["narrow"])
    assert network.nodes[narrow]["name"] == "narrow"
    assert network.nodes[narrow]["operation"] == "tanh"
    assert network.nodes[narrow]["shape"] == "float32[2, 3]"
    assert __file__ in network.nodes[narrow]["origin"]
    a = graph.position(graph["a"])
    assert [edge["operand"] for _, _, edge in network.in_edges(a, data=True)] == [0, 1]


def test_it_can_be_exported():
    networkx.write_graphml(to_networkx(residual()), io.BytesIO())


def test_dominators_are_the_narrow_places():
    graph = residual()
    names = [graph.name_of(node) for node in dominators(graph, graph["y"])]
    assert names == ["a", "narrow", "joined", "multiply"]
    assert dominators(graph, graph["left"]) == (graph["a"], graph["narrow"])
    assert dominators(graph, graph["a"]) == () and dominators(graph, graph["x"]) == ()


def test_dominators_of_one_leaf_are_its_chain():
    x = gg.input("x", 3)
    y = gg.exp(gg.tanh(x))
    assert dominators(Graph(y), y) == (x, y.heads[0])
