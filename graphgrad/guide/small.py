"""graphgrad in 150 lines: node, delta, derive. Scalars only, nothing fast, nothing hidden.

A node is an operation applied to its heads. An operation is a block of two functions: its value,
and its contribution to each head, which is built of nodes. So `derive` extends the graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Operation:
    """A block. `delta(delta, y, *heads)` returns the contribution to each head, as nodes."""

    name: str
    compute: Callable[..., float]
    delta: Callable[..., tuple[Node, ...]]


@dataclass(frozen=True, eq=False)
class Node:
    """One value of the graph: an operation on heads, or a leaf with a name."""

    operation: Operation | None
    heads: tuple[Node, ...] = ()
    name: str = ""

    def __add__(self, other: Node | float) -> Node:
        return node(ADD, self, other)

    def __sub__(self, other: Node | float) -> Node:
        return node(SUBTRACT, self, other)

    def __mul__(self, other: Node | float) -> Node:
        return node(MULTIPLY, self, other)

    def __str__(self) -> str:
        """The formula of the node, down to nodes that have a name."""
        parts = [head.name or str(head) for head in self.heads]
        return f"{self.operation.name}({', '.join(parts)})" if self.operation else self.name


# Equal operations on equal heads are the same node: nothing is ever computed twice.
_known: dict[Any, Node] = {}


def leaf(name: str) -> Node:
    """An input or a parameter: a value that is passed to every run."""
    return Node(None, (), name)


def constant(value: float) -> Node:
    """A number as a node."""
    compute = Operation(f"{value:g}", lambda: value, lambda delta, y: ())
    return _known.setdefault(value, Node(compute, (), f"{value:g}"))


def node(operation: Operation, *heads: Node | float, name: str = "") -> Node:
    """The node of this operation on these heads: the known one, if there is one."""
    given = tuple(head if isinstance(head, Node) else constant(head) for head in heads)
    return _known.setdefault((operation, given), Node(operation, given, name))


# ---------------------------------------------------------------- operations, one block each

ADD = Operation(
    "add",
    compute=lambda a, b: a + b,
    delta=lambda delta, y, a, b: (delta, delta),
)
SUBTRACT = Operation(
    "subtract",
    compute=lambda a, b: a - b,
    delta=lambda delta, y, a, b: (delta, delta * -1.0),
)
MULTIPLY = Operation(
    "multiply",
    compute=lambda a, b: a * b,
    delta=lambda delta, y, a, b: (delta * b, delta * a),
)
TANH = Operation(
    "tanh",
    compute=math.tanh,
    delta=lambda delta, y, a: (delta * (constant(1.0) - y * y),),
)


# ---------------------------------------------------------------- the graph, and its deltas


def ordered(*roots: Node) -> list[Node]:
    """All nodes that the roots need, heads before tails, without recursion."""
    done: dict[Node, None] = {}
    stack = list(roots)
    while stack:
        top = stack[-1]
        waiting = [head for head in top.heads if head not in done]
        if waiting:
            stack += waiting
        else:
            done[stack.pop()] = None
    return list(done)


@dataclass
class Deltas:
    """The result of `derive`: δ_u of every node u, and the contributions of which it is the sum."""

    of: dict[Node, Node] = field(default_factory=dict)
    contributions: dict[Node, list[tuple[Node, Node]]] = field(default_factory=dict)


def derive(loss: Node) -> Deltas:
    """The delta of every node that the loss depends on: δ_u = Σ_{t ∈ tails(u)} δ_{u←t}."""
    deltas = Deltas({loss: constant(1.0)})
    for tail in reversed(ordered(loss)):  # a node comes after all of its tails
        parts = deltas.contributions.get(tail, [])
        if parts:
            total = parts[0][1]
            for _, part in parts[1:]:
                total = total + part
            deltas.of[tail] = total
        if tail.operation is not None:
            sent = tail.operation.delta(deltas.of[tail], tail, *tail.heads)
            for head, part in zip(tail.heads, sent, strict=True):
                deltas.contributions.setdefault(head, []).append((tail, part))
    return deltas


def run(roots: list[Node], values: dict[Node, float]) -> dict[Node, float]:
    """The value of every node that the roots need, from the values of the leaves."""
    values = dict(values)
    for each in ordered(*roots):
        if each.operation is not None:
            values[each] = each.operation.compute(*(values[head] for head in each.heads))
    return values
