"""Cuts one delta out of a derived graph: a subgraph whose boundary nodes are inputs.

    inside      the nodes of the steps of a derivation, and the forward nodes between them
    boundary    deltas that the derivation does not derive, and all other forward values

Nodes inside keep their operations, so that the passes can match them; boundary nodes become inputs,
so that the passes match nothing else and the subgraph can be evaluated by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

from graphgrad.backprop.formula import is_unnamed, short_name
from graphgrad.backprop.selection import parts_of
from graphgrad.explain.derivation import DeltaStep
from graphgrad.explain.expression import SILENT
from graphgrad.graph import STATEFUL, Graph, Node, constant, input, leaf_name, placed
from graphgrad.graph.node import rebuilt
from graphgrad.ops import add, equal, less, less_equal, not_equal
from graphgrad.ops.movement import transpose

ROOT = "δ"
_OPEN = (*SILENT, transpose, equal, not_equal, less, less_equal)
"""Operations of unnamed nodes that are written as a formula, not by a name like `not_equal_3`."""


class Subgraph:
    """The first steps of a derivation as a graph with the output `δ`.

    `given` maps each input to the node of the source graph whose value it has; `counts` are the
    inputs that count something: scalars that depend on no parameter.
    """

    def __init__(self, graph: Graph, steps: Sequence[DeltaStep], scope: str) -> None:
        self.source, self.scope = graph, scope
        self.given: dict[str, Node] = {}
        self.counts: set[Node] = set()
        self._new: dict[Node, Node] = {}
        self._texts: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._parts = parts_of(graph)
        self._learned = graph.descendants(graph.parameters.values())
        steps = list(_flat(steps))
        inside = {step.node for step in steps}
        start = steps[0].node
        self._region = (inside | {t.tail for step in steps for t in step.terms}) - {start}
        root = steps[0].delta
        self._add_given_deltas(steps, inside, root)
        self.graph = self._built(steps, root)

    def symbols(self, graph: Graph) -> dict[Node, str]:
        """The text of each input and each forward node of the subgraph, also after passes."""
        texts = {node: self._texts[leaf_name(node)] for node in graph.inputs.values()}
        for name, text in self._names.items():
            node = graph.outputs.get(name)
            if node is not None and node.operation is not constant:
                texts.setdefault(node, text)
        return texts

    def _add_given_deltas(self, steps: list[DeltaStep], inside: set[Node], root: Node) -> None:
        """Makes an input of each delta that the steps use but do not derive."""
        for sender in (term.sender for step in steps for term in step.terms):
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

    def _built(self, steps: list[DeltaStep], root: Node) -> Graph:
        """The graph of all nodes that the root needs, up to the boundary."""
        sums = {step.delta: step for step in steps if sum(len(t.sent) for t in step.terms) > 1}
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
        """The root and its ancestors up to the boundary, in the order of the graph."""
        seen, stack = {root}, [root]
        while stack:
            node = stack.pop()
            for head in () if node in self._new or self._is_boundary(node) else node.heads:
                if head not in seen:
                    seen.add(head)
                    stack.append(head)
        return sorted(seen, key=self.source.position)

    def _of(self, node: Node) -> Node:
        """The node in the subgraph: an input at the boundary, else the same operation on new
        heads."""
        if node in self._new:
            return self._new[node]
        if self._is_boundary(node):
            leaf = self._leaf(node, short_name(self.source, node, self.scope))
            if node.shape == () and node not in self._learned:
                self.counts.add(leaf)
            return leaf
        with placed(self.source.name_of(node), node.origin):
            new = rebuilt(node, tuple(self._new.get(head, head) for head in node.heads))
        self._new[node] = new
        return new

    def _is_boundary(self, node: Node) -> bool:
        """Whether a forward value becomes an input."""
        if self._parts[node] != "forward" or node in self._region:
            return False
        if node.operation is input or node.operation in STATEFUL:
            return True
        return bool(node.heads) and not self._is_open(node)

    def _is_open(self, node: Node) -> bool:
        """Whether the node is written as a formula, not by its name."""
        return node.operation in _OPEN and is_unnamed(self.source, node)


def _flat(steps: Sequence[DeltaStep]) -> Iterator[DeltaStep]:
    """Yields the steps, each followed by the similar steps that are merged into it."""
    for step in steps:
        yield step
        yield from step.similar
