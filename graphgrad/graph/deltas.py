"""Deltas as structure: which node is the delta of which, and which tail sent back which part of it.

`derive` writes a `Derivation`; a graph holds those it came from and every pass carries them. Names
like `u.delta` are made here and nowhere else, to be shown and to be asked for. Nothing is ever read
off them: a node that a user calls `u.delta` is a node like any other.

A derivation is written once, in numbers of places in a table of nodes, and graphs share it. A pass
only gives a new table, so carrying a derivation costs no more than carrying one name a node. Two
nodes that become one keep the delta that each of them had; a node that is gone leaves None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from graphgrad.graph.node import Node

DELTA = "delta"
"""The label of a first derivation; a second one of the same nodes needs another."""
ARROW = "<-"
"""Between a head and the tail that sends something back to it."""


def delta_name(name: str, label: str = DELTA) -> str:
    """What the delta of the node called `name` is called."""
    return f"{name}.{label}"


def edge_name(head: str, tail: str) -> str:
    """What the edge from a tail back to a head is called, in settings and in names."""
    return f"{head}{ARROW}{tail}"


def sent_name(name: str, tail: str, label: str = DELTA) -> str:
    """What the contribution of `tail` to the delta of `name` is called."""
    return edge_name(delta_name(name, label), tail)


def cut_name(name: str, what: str, tail: str = "", label: str = DELTA) -> str:
    """What a delta, or the contribution of a tail, is called as a cut leaves it (or `before`)."""
    changed = f"{delta_name(name, label)}.{what}"
    return edge_name(changed, tail) if tail else changed


def rule_scope(name: str, label: str = DELTA) -> str:
    """The scope of what the delta rule of `name` computes on the way."""
    return f"{name}.{'rule' if label == DELTA else label + '_rule'}"


def recorded_by_name(names: Sequence[str]) -> dict[str, str]:
    """Which recorded rows are deltas, and of which node: for histories of before they said so
    themselves, when no other node could be called like a delta."""
    ending = delta_name("")
    return {
        name: name.removesuffix(ending)
        for name in names
        if name.endswith(ending) and name != ending
    }


Ref = TypeVar("Ref")


class Change(NamedTuple, Generic[Ref]):
    """What a cut did to a delta or a contribution."""

    kind: str
    before: Ref
    after: Ref


class Sent(NamedTuple, Generic[Ref]):
    """What a tail sends back to a node that is its head number `place`."""

    tail: Ref
    place: int
    value: Ref
    name: str
    """The tail's name, with a number where it sends back more than once."""
    changes: tuple[Change[Ref], ...] = ()


class Delta(NamedTuple, Generic[Ref]):
    """The delta of one node, and what it is the sum of, in the order of the sum."""

    node: Ref
    value: Ref
    names: tuple[str, ...]
    """The names that the node had when its delta was derived."""
    called: str
    """The name of the delta, for the first of them."""
    sent: tuple[Sent[Ref], ...] = ()
    changes: tuple[Change[Ref], ...] = ()


class RuleStep(NamedTuple, Generic[Ref]):
    """A node that is computed on the way to a delta: by the rule of `owner`, which was called
    `name`, or in the sum of what its tails send back."""

    node: Ref
    owner: Ref
    name: str
    scope: str
    """The scope of the rule; empty in a sum."""


@dataclass(frozen=True, slots=True)
class Operated:
    """One cut: where, what is done, and the change from the delta's node to the new one."""

    at: str
    kind: str
    change: Callable[[Node], Node]

    def __str__(self) -> str:
        return f"{self.kind} {self.at}"


class Planned(NamedTuple, Generic[Ref]):
    """A cut at a node, or at what a tail sends back to it."""

    cut: Operated
    node: Ref
    tail: Ref | None


class Contribution(NamedTuple):
    """What a tail sends back to a node that is its head number `place`, and the value of that."""

    tail: Node
    place: int
    value: Node
    changes: tuple[Change[Node], ...] = ()


class Owner(NamedTuple):
    """The node that a delta, a contribution or a step belongs to."""

    node: Node
    name: str
    """The node's name when its delta was derived."""
    tail: str
    """Of a contribution: the name of the tail that sends it."""
    scope: str
    """Of what a rule computes: the scope of the rule."""


@dataclass
class Script:
    """What a derivation says, in numbers of places in its table."""

    label: str
    of: int
    seed: int | None
    leaves: tuple[int, ...]
    deltas: tuple[Delta[int], ...]
    steps: tuple[RuleStep[int], ...]
    planned: tuple[Planned[int], ...]
    names: frozenset[str] = field(repr=False)
    """All names that it gave."""

    @cached_property
    def by_name(self) -> dict[str, Delta[int]]:
        return {name: delta for delta in self.deltas for name in delta.names}

    @cached_property
    def as_sent(self) -> list[tuple[Delta[int], Sent[int]]]:
        """All contributions in the order in which they were sent: the tails from the last on."""
        turn = {delta.node: number for number, delta in enumerate(self.deltas)}
        found = [(delta, sent) for delta in self.deltas for sent in delta.sent]
        return sorted(found, key=lambda pair: (turn[pair[1].tail], pair[1].place))


class Derivation:
    """The deltas of one call of `derive`, as they stand in one graph."""

    def __init__(self, script: Script, table: Sequence[Node | None]) -> None:
        self.script, self.table = script, tuple(table)
        self.label = script.label

    def replaced(self, replacement: Mapping[Node, Node]) -> Derivation:
        """The same after a pass that puts other nodes in the place of some."""
        new = replacement.get
        return Derivation(
            self.script, [None if node is None else new(node, node) for node in self.table]
        )

    def within(self, nodes: Set[Node]) -> Derivation:
        """The same for a graph of these nodes only."""
        if not set(self.table).difference(nodes, (None,)):
            return self
        return Derivation(self.script, [node if node in nodes else None for node in self.table])

    def at(self, place: int) -> Node | None:
        """The node at a place of the table; None where it is gone."""
        return self.table[place]

    def value(self, delta: Delta[int]) -> Node | None:
        """The delta's node; None where it is gone."""
        return self.table[delta.value]

    def named(self, name: str) -> Delta[int] | None:
        """The delta of the node that had this name, where it still is there."""
        found = self.script.by_name.get(name)
        return None if found is None or self.value(found) is None else found

    @cached_property
    def of_node(self) -> dict[Node, Delta[int]]:
        """Of each node that is there its delta; the first where several nodes became one."""
        found: dict[Node, Delta[int]] = {}
        for delta in self.script.deltas:
            node = self.at(delta.node)
            if node is not None and self.value(delta) is not None:
                found.setdefault(node, delta)
        return found

    def changes(self, found: Sequence[Change[int]]) -> tuple[Change[Node], ...]:
        """What cuts did, as far as it still is to be seen."""
        made = [(change.kind, self.at(change.before), self.at(change.after)) for change in found]
        return tuple(
            Change(kind, before, after)
            for kind, before, after in made
            if before is not None and after is not None
        )

    def planned(self) -> Iterator[Planned[Node]]:
        """The cuts that were made, where what they cut is there."""
        for cut, place, tail_place in self.script.planned:
            node = self.at(place)
            tail = None if tail_place is None else self.at(tail_place)
            if node is not None and (tail is None) == (tail_place is None):
                yield Planned(cut, node, tail)

    def values(self) -> Iterator[Node]:
        """All deltas and contributions that are there and whose nodes are."""
        for delta in self.script.deltas:
            if self.at(delta.node) is not None:
                for place in (delta.value, *[sent.value for sent in delta.sent]):
                    node = self.at(place)
                    if node is not None:
                        yield node

    @cached_property
    def owners(self) -> dict[Node, Owner]:
        """What each delta, contribution and step belongs to; a node that is several of these is
        first of all a delta, then a contribution, as its names say too."""
        found: dict[Node, Owner] = {}

        def add(place: int, owner: int, name: str, tail: str, scope: str) -> None:
            node, belongs_to = self.at(place), self.at(owner)
            if node is not None and belongs_to is not None and node not in found:
                found[node] = Owner(belongs_to, name, tail, scope)

        for delta in self.script.deltas:
            add(delta.value, delta.node, delta.names[0], "", "")
        for delta, sent in self.script.as_sent:
            add(sent.value, delta.node, delta.names[0], sent.name, "")
        for step in self.script.steps:
            add(step.node, step.owner, step.name, "", step.scope)
        return found
