"""Cuts a graph at a node, gives the node another value and recomputes only what depends on it.

    change(u, z') = L(with z' in the place of z_u) - L

Everything is prepared once: who depends on whom (as bit sets), the arguments of every computation
and memory for its result. So a change costs the computations between the node and L and nothing
else, and the whole of a small Transformer can be cut at every node in seconds.

`stop_gradient` counts its head as a constant, and so does a change: it does not pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphgrad.errors import UnknownNameError
from graphgrad.graph import LEAVES, Graph, Node
from graphgrad.ops import stop_gradient

Recompute = Callable[[list[np.ndarray]], np.ndarray]


class Perturbation:
    """The values of a specialised graph, and what the scalar `target` becomes when one changes."""

    def __init__(self, graph: Graph, target: Node, values: Mapping[Node, np.ndarray]) -> None:
        needed = graph.ancestors([target])
        self.nodes: tuple[Node, ...] = tuple(node for node in graph.nodes if node in needed)
        self.position = {node: position for position, node in enumerate(self.nodes)}
        self.values = [values[node] for node in self.nodes]
        self._recompute = [_recompute(node, self.position) for node in self.nodes]
        self._end = self.position[target]
        self._reached = _reached(self.nodes, self.position)

    def dependents(self, node: Node) -> list[int]:
        """The positions of all nodes that a change of `node` reaches, in order."""
        return _positions(self._reached[self.position[node]])

    def change(self, node: Node, value: np.ndarray, dependents: list[int]) -> float:
        """How much the target grows when the node has this value; `dependents` are the node's."""
        changed = list(self.values)
        changed[self.position[node]] = value
        for position in dependents:
            changed[position] = self._recompute[position](changed)
        return float(changed[self._end]) - float(self.values[self._end])

    def change_of(self, tail: Node, head: Node, value: np.ndarray) -> np.ndarray:
        """How much one operation's result grows, in float64, when its head has this value."""
        position, place = self.position[tail], self.position[head]
        before = self.values[place]
        self.values[place] = value
        try:
            after = self._recompute[position](self.values)
        finally:
            self.values[place] = before
        old = self.values[position]
        growth = np.zeros(old.shape)  # -∞ that stays -∞ did not grow
        np.subtract(after, old, out=growth, where=after != old)
        return growth


def _recompute(node: Node, position: Mapping[Node, int]) -> Recompute:
    """A function of all values that computes this node into memory of its own."""
    operation, places = node.operation, [position[head] for head in node.heads]
    compute = operation.compute
    if operation in LEAVES or compute is None:
        return _refuse(node)
    keywords: dict[str, Any] = dict(node.attributes)
    if operation.scratch is not None:
        types = operation.scratch(*(head.type for head in node.heads), **node.attributes)
        keywords["scratch"] = tuple(np.empty(t.sizes, t.dtype) for t in types)
    out = np.empty(node.type.sizes, node.dtype)

    def run(values: list[np.ndarray]) -> np.ndarray:
        compute(np, out, *[values[place] for place in places], **keywords)
        return out

    return run


def _refuse(node: Node) -> Recompute:
    def run(values: list[np.ndarray]) -> np.ndarray:
        raise UnknownNameError(f"{node.name!r} ({node.operation.name}) has no computation")

    return run


def _reached(nodes: tuple[Node, ...], position: Mapping[Node, int]) -> list[int]:
    """For each node the set, as bits, of the positions of the nodes that depend on it."""
    reached = [0] * len(nodes)
    for place in reversed(range(len(nodes))):
        tail = nodes[place]
        if tail.operation is not stop_gradient:
            for head in set(tail.heads):
                reached[position[head]] |= reached[place] | 1 << place
    return reached


def _positions(bits: int) -> list[int]:
    text = bin(bits)[:1:-1]
    return [place for place, bit in enumerate(text) if bit == "1"]
