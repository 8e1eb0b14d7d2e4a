"""Says which groups of values follow one another in depth, from the edges of the graph.

A picture of figures by depth joins what follows one another by a line. What follows is a matter of
the graph, not of the order in which values are computed: neurons of a layer, query, key and value,
the two uses of shared weights, and branches are computed one after the other, and none of them
follows another.

- A group follows another if a value of it uses a value of the other, perhaps through values that
  are in no group. Parameters and states are used by values and follow nothing: they have no depth.
- A pair that a longer way leads around is left out: a residual connection is not a step of depth,
  and the last layer of an encoder is followed by the first layer of the decoder, not by all.
- Groups that follow each other both ways have no order, so no pair. `visits` divides a group that
  other values lead back to, such as an embedding and an output layer under one name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphgrad.graph import Graph, Node, parameter, state

_LEAVES = (parameter, state)
Pairs = tuple[tuple[int, int], ...]
"""Positions of groups: the second follows the first."""


def following(graph: Graph, groups: Sequence[Collection[Node]]) -> Pairs:
    """The pairs of groups of nodes of which the second follows the first in depth.

    >>> import graphgrad as gg
    >>> x = gg.input("x", (3,))
    >>> left, right = gg.tanh(x), gg.exp(x)
    >>> following(gg.Graph(left * right), [[x], [left], [right]])
    ((0, 1), (0, 2))
    """
    after = _uses(graph, groups)
    reached = _reached(after)
    pairs = []
    for group, used in enumerate(after):
        for other in _positions(used):
            if reached[other] >> group & 1:
                continue
            around = any(
                reached[between] >> other & 1 and not reached[other] >> between & 1
                for between in _positions(used & ~(1 << other))
                if not reached[between] >> group & 1
            )
            if not around:
                pairs.append((group, other))
    return tuple(pairs)


def visits(graph: Graph, groups: Sequence[Collection[Node]]) -> dict[Node, int]:
    """For each node of a group how often a way to it enters the group, at most, from 1.

    A parameter or state counts like the first node of its group that uses it.

    >>> import graphgrad as gg
    >>> x = gg.input("x", (3,))
    >>> first = gg.tanh(x)
    >>> between = gg.exp(first)
    >>> last = gg.tanh(between)
    >>> found = visits(gg.Graph(last), [[first, last], [between]])
    >>> found[first], found[last]
    (1, 2)
    """
    own = {node: number for number, group in enumerate(groups) for node in group}
    entered: dict[Node, dict[int, tuple[int, bool]]] = {}
    for node in graph.nodes:
        seen: dict[int, tuple[int, bool]] = {}  # by group: how often entered, and whether left
        for head in node.heads:
            for group, way in entered[head].items():
                seen[group] = max(seen.get(group, way), way)
        number = own.get(node)
        if number is not None and node.operation not in _LEAVES:
            seen = {group: (count, True) for group, (count, _) in seen.items()} | {
                number: (sum(seen.get(number, (1, False))), False)
            }
        entered[node] = seen
    found = {node: entered[node][group][0] for node, group in own.items() if group in entered[node]}
    for node, group in own.items():
        users = [
            found[tail] for tail in graph.tails(node) if own.get(tail) == group and tail in found
        ]
        found.setdefault(node, min(users, default=1))
    return found


def in_order(count: int, pairs: Pairs) -> list[int]:
    """The positions 0 … count - 1, each after those that it follows, else as they are.

    >>> in_order(3, ((2, 0),))
    [1, 2, 0]
    """
    missing = [0] * count
    after: list[list[int]] = [[] for _ in range(count)]
    for first, second in pairs:
        missing[second] += 1
        after[first].append(second)
    order: list[int] = []
    waiting = [position for position in range(count) if not missing[position]]
    while waiting:
        position = min(waiting)
        waiting.remove(position)
        order.append(position)
        for second in after[position]:
            missing[second] -= 1
            if not missing[second]:
                waiting.append(second)
    return order


def _uses(graph: Graph, groups: Sequence[Collection[Node]]) -> list[int]:
    """For each group the bits of those that use a value of it, directly or through no group."""
    own = {node: number for number, group in enumerate(groups) for node in group}
    after = [0] * len(groups)
    carried: dict[Node, int] = {}
    for node in graph.nodes:
        if node.operation in _LEAVES:
            carried[node] = 0
            continue
        before = 0
        for head in node.heads:
            before |= carried[head]
        number = own.get(node)
        if number is None:
            carried[node] = before
            continue
        carried[node] = 1 << number
        for first in _positions(before & ~(1 << number)):
            after[first] |= 1 << number
    return after


def _reached(after: Sequence[int]) -> list[int]:
    """For each group the bits of all that are reached from it by one use or several."""
    reached = list(after)
    changed = True
    while changed:  # once, and once more to see it, where uses lead to later groups only
        changed = False
        for group in reversed(range(len(after))):
            found = reached[group]
            for other in _positions(after[group]):
                found |= reached[other]
            if found != reached[group]:
                reached[group], changed = found, True
    return reached


def _positions(bits: int) -> list[int]:
    """The positions of the bits that are 1, ascending."""
    found = []
    while bits:
        lowest = bits & -bits
        found.append(lowest.bit_length() - 1)
        bits ^= lowest
    return found
