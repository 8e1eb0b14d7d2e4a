"""A part of a derived graph on its own: one delta, with everything beyond its edges as inputs.

    inside     the steps of a derivation, and the forward nodes on their way
    edge       deltas that the derivation does not look into, and all other forward values

Inside, nodes keep their operations, so that the passes find what they look for; the edge becomes
inputs, so that they find nothing else, and the part can be evaluated by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

from graphgrad.backprop.formula import is_unnamed, short_name
from graphgrad.backprop.selection import parts_of
from graphgrad.explain.derivation import Move
from graphgrad.explain.expression import SILENT
from graphgrad.graph import STATEFUL, Graph, Node, constant, input, leaf_name, placed
from graphgrad.graph.node import rebuilt
from graphgrad.ops import add, equal, less, less_equal, not_equal
from graphgrad.ops.movement import transpose

ROOT = "δ"
_OPEN = (*SILENT, transpose, equal, not_equal, less, less_equal)
"""What a reader would rather see opened than called `not_equal_3`."""


class Subgraph:
    """The first steps of a walk as a graph with the output `δ`.

    `given` are the nodes of the source graph whose values the inputs take; `counts` are inputs that
    count something: scalars that no parameter has a part in.
    """

    def __init__(self, graph: Graph, steps: Sequence[Move], scope: str) -> None:
        self.source, self.scope = graph, scope
        self.given: dict[str, Node] = {}
        self.counts: set[Node] = set()
        self._new: dict[Node, Node] = {}
        self._texts: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._parts = parts_of(graph)
        self._learned = graph.descendants(graph.parameters.values())
        moves = list(_flat(steps))
        inside = {move.node for move in moves}
        start = moves[0].node
        self._region = (inside | {t.tail for move in moves for t in move.terms}) - {start}
        root = moves[0].delta
        self._leave_deltas_out(moves, inside, root)
        self.graph = self._built(moves, root)

    def symbols(self, graph: Graph) -> dict[Node, str]:
        """How each input and each forward node of the part is called, after any pass."""
        texts = {node: self._texts[leaf_name(node)] for node in graph.inputs.values()}
        for name, text in self._names.items():
            node = graph.outputs.get(name)
            if node is not None and node.operation is not constant:
                texts.setdefault(node, text)
        return texts

    def _leave_deltas_out(self, moves: list[Move], inside: set[Node], root: Node) -> None:
        for sender in (term.sender for move in moves for term in move.terms):
            delta = self.source.delta_or_none(sender)
            if sender in inside or delta is None or delta is root or delta.operation is constant:
                continue
            if delta not in self._new:
                self._leaf(delta, f"δ[{short_name(self.source, sender, self.scope)}]")

    def _leaf(self, node: Node, text: str) -> Node:
        with placed("", None):
            leaf = input(f"given {len(self.given)}", node.shape, node.dtype)
        self._new[node] = leaf
        self.given[leaf_name(leaf)] = node
        self._texts[leaf_name(leaf)] = text
        return leaf

    def _built(self, moves: list[Move], root: Node) -> Graph:
        """All nodes that the root needs, up to the edge, in the order of the graph."""
        sums = {move.delta: move for move in moves if sum(len(t.sent) for t in move.terms) > 1}
        outputs: dict[str, Node] = {}
        for node in self._needed(root):
            if node in self._new:
                continue
            if node in sums and node.operation is add:  # in the order of the tails
                sent = [self._of(item.value) for term in sums[node].terms for item in term.sent]
                self._new[node] = reduce(add, sent)
                continue
            new = self._of(node)
            if self._parts[node] == "forward" and new.heads and not self._is_open(node):
                name = self.source.name_of(node)
                outputs[name] = new
                self._names[name] = short_name(self.source, node, self.scope)
        return Graph({ROOT: self._of(root), **outputs})

    def _needed(self, root: Node) -> list[Node]:
        """The root and its ancestors up to the edge."""
        seen, stack = {root}, [root]
        while stack:
            node = stack.pop()
            for head in () if node in self._new or self._is_edge(node) else node.heads:
                if head not in seen:
                    seen.add(head)
                    stack.append(head)
        return sorted(seen, key=self.source.position)

    def _of(self, node: Node) -> Node:
        """The node in the part: an input at the edge, else the same operation on new heads."""
        if node in self._new:
            return self._new[node]
        if self._is_edge(node):
            leaf = self._leaf(node, short_name(self.source, node, self.scope))
            if node.shape == () and node not in self._learned:
                self.counts.add(leaf)
            return leaf
        with placed(self.source.name_of(node), node.origin):
            new = rebuilt(node, tuple(self._new.get(head, head) for head in node.heads))
        self._new[node] = new
        return new

    def _is_edge(self, node: Node) -> bool:
        """Whether a forward value is taken as it is."""
        if self._parts[node] != "forward" or node in self._region:
            return False
        if node.operation is input or node.operation in STATEFUL:
            return True
        return bool(node.heads) and not self._is_open(node)

    def _is_open(self, node: Node) -> bool:
        return node.operation in _OPEN and is_unnamed(self.source, node)


def _flat(steps: Sequence[Move]) -> Iterator[Move]:
    """The moves, and the moves that each of them also stands for."""
    for move in steps:
        yield move
        yield from move.likewise
