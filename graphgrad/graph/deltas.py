"""Records which node is the delta of which, and which tail contributed which part of it.

`derive` writes a `Derivation`; a graph holds the derivations that its nodes came from, and every
pass carries them along. Names like `u.delta` are composed here and nowhere else, for display and
for look-up. They are never parsed: a node that a user calls `u.delta` is a node like any other.

A derivation is written once, with nodes given by their index in a table, and graphs share it. A
pass only replaces the table, so carrying a derivation costs no more than carrying one name per
node. If two nodes become one, it keeps the delta that each of them had; the entry of a removed node
is None.
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
"""Between a head and the tail that contributes to its delta."""


def delta_name(name: str, label: str = DELTA) -> str:
    """The name of the delta of the node called `name`."""
    return f"{name}.{label}"


def edge_name(head: str, tail: str) -> str:
    """The name of the edge from a tail back to a head, in settings and in names of nodes."""
    return f"{head}{ARROW}{tail}"


def contribution_name(name: str, tail: str, label: str = DELTA) -> str:
    """The name of the contribution of `tail` to the delta of `name`."""
    return edge_name(delta_name(name, label), tail)


def cut_name(name: str, what: str, tail: str = "", label: str = DELTA) -> str:
    """The name of a delta, or of the contribution of a tail, after a cut (or `before` it)."""
    changed = f"{delta_name(name, label)}.{what}"
    return edge_name(changed, tail) if tail else changed


def rule_scope(name: str, label: str = DELTA) -> str:
    """The scope of the intermediate nodes of the delta rule of `name`."""
    return f"{name}.{'rule' if label == DELTA else label + '_rule'}"


def recorded_by_name(names: Sequence[str]) -> dict[str, str]:
    """The recorded rows that are deltas, each with the name of its node.

    For histories that were recorded before they stored this themselves. At that time no other node
    could have a name like that of a delta.
    """
    ending = delta_name("")
    return {
        name: name.removesuffix(ending)
        for name in names
        if name.endswith(ending) and name != ending
    }


Ref = TypeVar("Ref")
"""A node, or the index of a node in the table of a derivation."""


class Change(NamedTuple, Generic[Ref]):
    """The effect of one cut on a delta or a contribution."""

    kind: str
    before: Ref
    after: Ref


class DeltaTerm(NamedTuple, Generic[Ref]):
    """One term of a delta: the contribution of a tail to its head number `position`."""

    tail: Ref
    position: int
    value: Ref
    name: str
    """The tail's name, with a number if it contributes more than once."""
    changes: tuple[Change[Ref], ...] = ()


class Delta(NamedTuple, Generic[Ref]):
    """The delta of one node and the terms that it is the sum of, in the order of the sum."""

    node: Ref
    value: Ref
    names: tuple[str, ...]
    """The names that the node had when its delta was derived."""
    called: str
    """The name of the delta, for the first of them."""
    terms: tuple[DeltaTerm[Ref], ...] = ()
    changes: tuple[Change[Ref], ...] = ()


class RuleStep(NamedTuple, Generic[Ref]):
    """An intermediate node of a delta, computed by the rule of `owner` (called `name`), or in the
    sum of the contributions of its tails."""

    node: Ref
    owner: Ref
    name: str
    scope: str
    """The scope of the rule; empty in a sum."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A change of one delta or contribution before it flows on; made by `clip`, `scale` and so on.

    `at` is the name of a node, a scope or an edge `u<-t`, `kind` the name of the change, and
    `change` the function from the node of the delta to the node that replaces it.

    >>> from graphgrad.passes.surgery import Cut
    >>> print(Cut("z", "halve", lambda delta: 0.5 * delta))
    halve z
    """

    at: str
    kind: str
    change: Callable[[Node], Node]

    def __str__(self) -> str:
        return f"{self.kind} {self.at}"


class LocatedCut(NamedTuple, Generic[Ref]):
    """A cut with its node, and with the tail if it cuts one contribution."""

    cut: Cut
    node: Ref
    tail: Ref | None


class Contribution(NamedTuple):
    """The contribution of a tail to the delta of its head number `position`."""

    tail: Node
    position: int
    value: Node
    changes: tuple[Change[Node], ...] = ()


class Owner(NamedTuple):
    """The node that a delta, a contribution or an intermediate node of a rule belongs to."""

    node: Node
    name: str
    """The node's name when its delta was derived."""
    tail: str
    """Of a contribution: the name of the tail that it comes from."""
    scope: str
    """Of an intermediate node of a rule: the scope of the rule."""


@dataclass
class DerivationRecord:
    """The result of one call of `derive`, with nodes given by their index in a table."""

    label: str
    of: int
    seed: int | None
    leaves: tuple[int, ...]
    deltas: tuple[Delta[int], ...]
    steps: tuple[RuleStep[int], ...]
    cuts: tuple[LocatedCut[int], ...]
    names: frozenset[str] = field(repr=False)
    """All names that this derivation introduced."""

    @cached_property
    def by_name(self) -> dict[str, Delta[int]]:
        return {name: delta for delta in self.deltas for name in delta.names}

    @cached_property
    def terms_in_order(self) -> list[tuple[Delta[int], DeltaTerm[int]]]:
        """All contributions in the order of their computation: by tail, from the last tail on."""
        rank = {delta.node: number for number, delta in enumerate(self.deltas)}
        found = [(delta, term) for delta in self.deltas for term in delta.terms]
        return sorted(found, key=lambda pair: (rank[pair[1].tail], pair[1].position))


class Derivation:
    """The deltas of one call of `derive` in one graph: a shared record and this graph's table."""

    def __init__(self, record: DerivationRecord, table: Sequence[Node | None]) -> None:
        self.record, self.table = record, tuple(table)
        self.label = record.label

    def replace_nodes(self, replacement: Mapping[Node, Node]) -> Derivation:
        """This derivation after a pass that replaced some nodes by others."""
        new = replacement.get
        return Derivation(
            self.record, [None if node is None else new(node, node) for node in self.table]
        )

    def within(self, nodes: Set[Node]) -> Derivation:
        """This derivation for a graph that has these nodes only."""
        if not set(self.table).difference(nodes, (None,)):
            return self
        return Derivation(self.record, [node if node in nodes else None for node in self.table])

    def at(self, index: int) -> Node | None:
        """The node at an index of the table; None if it was removed."""
        return self.table[index]

    def value(self, delta: Delta[int]) -> Node | None:
        """The node of a delta; None if it was removed."""
        return self.table[delta.value]

    def named(self, name: str) -> Delta[int] | None:
        """The delta of the node that had this name, unless it was removed."""
        found = self.record.by_name.get(name)
        return None if found is None or self.value(found) is None else found

    @cached_property
    def of_node(self) -> dict[Node, Delta[int]]:
        """The delta of each node; the first one if several nodes became one."""
        found: dict[Node, Delta[int]] = {}
        for delta in self.record.deltas:
            node = self.at(delta.node)
            if node is not None and self.value(delta) is not None:
                found.setdefault(node, delta)
        return found

    def changes(self, found: Sequence[Change[int]]) -> tuple[Change[Node], ...]:
        """The changes made by cuts whose nodes before and after are still part of the graph."""
        made = [(change.kind, self.at(change.before), self.at(change.after)) for change in found]
        return tuple(
            Change(kind, before, after)
            for kind, before, after in made
            if before is not None and after is not None
        )

    def cuts(self) -> Iterator[LocatedCut[Node]]:
        """The cuts that were made, if the nodes that they cut are part of the graph."""
        for cut, index, tail_index in self.record.cuts:
            node = self.at(index)
            tail = None if tail_index is None else self.at(tail_index)
            if node is not None and (tail is None) == (tail_index is None):
                yield LocatedCut(cut, node, tail)

    def values(self) -> Iterator[Node]:
        """All deltas and contributions that are part of the graph, and whose nodes are."""
        for delta in self.record.deltas:
            if self.at(delta.node) is not None:
                for index in (delta.value, *[term.value for term in delta.terms]):
                    node = self.at(index)
                    if node is not None:
                        yield node

    @cached_property
    def owners(self) -> dict[Node, Owner]:
        """The owner of each delta, contribution and intermediate node.

        A node that is several of these counts as a delta first, then as a contribution, as its
        names do.
        """
        found: dict[Node, Owner] = {}

        def add(index: int, owner: int, name: str, tail: str, scope: str) -> None:
            node, belongs_to = self.at(index), self.at(owner)
            if node is not None and belongs_to is not None and node not in found:
                found[node] = Owner(belongs_to, name, tail, scope)

        for delta in self.record.deltas:
            add(delta.value, delta.node, delta.names[0], "", "")
        for delta, term in self.record.terms_in_order:
            add(term.value, delta.node, delta.names[0], term.name, "")
        for step in self.record.steps:
            add(step.node, step.owner, step.name, "", step.scope)
        return found
