"""Which nodes of a graph are meant: by part, by name pattern, by what they send back.

After `derive` one graph holds the forward nodes, their deltas and perhaps the updates of an
optimiser. What belongs to which part follows from the names `u.delta` that `derive` gave and from
who needs whom, never from how an operation or a scope happens to be called:

    forward   what a node that has a delta is computed from, and whatever else is no delta or update
    delta     what the deltas and contributions are computed from, and is not forward
    update    what only the next values of parameters and states need, and what follows from deltas
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from graphgrad.errors import UnknownNameError
from graphgrad.graph import DELTA, Graph, Node

Part = Literal["forward", "delta", "update"]

_ENDING = f".{DELTA}"
_SENT = f".{DELTA}<-"
_WILD = frozenset("*?[")


def parts_of(graph: Graph) -> dict[Node, Part]:
    """The part that each node of the graph belongs to."""
    with_delta, deltas = set(), set()
    for name, node in graph.names.items():
        if name.endswith(_ENDING) and name.removesuffix(_ENDING) in graph.names:
            with_delta.add(graph.names[name.removesuffix(_ENDING)])
            deltas.add(node)
        elif _SENT in name and name[: name.index(_SENT)] in graph.names:
            deltas.add(node)
    forward = graph.ancestors(with_delta)
    backward = graph.ancestors(deltas) - forward
    updating = graph.ancestors(graph.updates.values()) | graph.descendants(backward)
    updating -= forward
    parts: dict[Node, Part] = {}
    for node in graph.nodes:
        if node in backward:
            parts[node] = "delta"
        else:
            parts[node] = "update" if node in updating else "forward"
    return parts


def delta_of(graph: Graph, node: Node) -> Node | None:
    """δ_u, or None where the graph has no delta of this node."""
    return graph.names.get(f"{graph.name_of(node)}{_ENDING}")


@dataclass(frozen=True, slots=True)
class Contribution:
    """What the tail sends back to a node that is its head number `place`, and the value of that."""

    tail: Node
    place: int
    value: Node


def contributions_of(graph: Graph, node: Node) -> tuple[Contribution, ...]:
    """What each tail sends back to the node, tails in order; their sum is the node's delta."""
    found: list[Contribution] = []
    for tail in graph.tails(node):
        places = [place for place, head in enumerate(tail.heads) if head is node]
        sent = _sent(graph, node, tail, len(places))
        # a rule that sends less than once for each place leaves the first ones out (`with_delta`)
        for place, value in zip(places[len(places) - len(sent) :], sent, strict=True):
            found.append(Contribution(tail, place, value))
    return tuple(found)


def _sent(graph: Graph, node: Node, tail: Node, most: int) -> list[Node]:
    """The contributions of one tail, found by the names that `derive` gives them."""
    for tail_name in graph.names_of(tail):
        name = f"{graph.name_of(node)}{_SENT}{tail_name}"
        keys = [name, *(f"{name}#{number}" for number in range(2, most + 1))]
        sent = [graph.names[key] for key in keys if key in graph.names]
        if sent:
            return sent
    return []


def matching(graph: Graph, patterns: Iterable[str], among: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes that a name or a pattern with `*` and `?` means, in the order of the graph.

    An exact name means its node wherever it is; a pattern only chooses from `among`. Raises
    UnknownNameError for a name or pattern that means nothing.
    """
    candidates = [(node, graph.names_of(node)) for node in among]
    chosen: set[Node] = set()
    for pattern in patterns:
        if pattern in graph.names or not _WILD & set(pattern):
            chosen.add(graph[pattern])
            continue
        found = [node for node, names in candidates
                 if any(fnmatch.fnmatchcase(name, pattern) for name in names)]  # fmt: skip
        if not found:
            raise UnknownNameError(
                f"no node has a name like {pattern!r}",
                fix="print the graph to see its names; * stands for any text, ? for one character",
            )
        chosen.update(found)
    return tuple(node for node in graph.nodes if node in chosen)
