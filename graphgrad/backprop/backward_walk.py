"""Walks a graph from a node back to the leaves and computes one delta after the other.

    δ_u = Σ_{t ∈ tails(u)} δ_{u←t},        δ_{u←t} = the delta rule of t applied to δ_t

The time is linear in the size of the graph, and nothing recurses. The result is recorded as a
`Derivation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphgrad.errors import DeclarationError
from graphgrad.graph import Graph, Node, constant, declared_at
from graphgrad.graph.deltas import (
    Change,
    Delta,
    DeltaTerm,
    Derivation,
    DerivationRecord,
    LocatedCut,
    RuleStep,
    contribution_name,
    cut_name,
    delta_name,
    rule_scope,
)
from graphgrad.graph.types import FLOAT32
from graphgrad.ops import broadcast_to, cast
from graphgrad.ops.reduction import sum_to


class BackwardWalk:
    """One walk from a node back to the leaves. The given cuts change a delta or a contribution
    before anything is computed from it."""

    def __init__(
        self,
        graph: Graph,
        target: Node,
        leaves: Sequence[Node],
        seed: Node | None,
        label: str,
        cuts: Sequence[LocatedCut[Node]],
    ) -> None:
        self.graph, self.target, self.leaves = graph, target, leaves
        self.seed, self.label, self.cuts = seed, label, cuts
        self.between = graph.ancestors([target]) & graph.descendants(leaves)
        _need_no_deltas(graph, self.between.union(leaves, [target]), label)
        self.terms: dict[Node, list[DeltaTerm[Node]]] = {}
        self.deltas: list[Delta[Node]] = []
        self.steps: list[RuleStep[Node]] = []
        self.known = set(graph.nodes)
        # deltas before contributions: a node that is both is shown as the delta
        self.names: dict[str, Node] = {}
        self.contribution_names: dict[str, Node] = {}
        self.cut_names: dict[str, Node] = {}
        self.order = list(graph.nodes)

    def derived(self) -> Graph:
        """The graph with all deltas."""
        graph = self.graph
        self.known |= graph.ancestors([] if self.seed is None else [self.seed])
        for node in reversed(graph.nodes):
            if node in self.between and (node is self.target or node in self.terms):
                self._derive(node)
        reached = {delta.node for delta in self.deltas}
        for node in self.leaves:  # a leaf that L does not depend on has the delta 0
            if node.type.is_float and node not in reached:
                with declared_at(graph.name_of(node), node.origin):
                    zero = broadcast_to(constant(0.0, node.dtype), node.shape)
                self._record(node, zero, [])
        given = {**self.names, **self.contribution_names, **self.cut_names}
        return graph.changed(
            names={**graph.names, **given},
            order=self.order,
            derivations=(*graph.derivations, self._derivation(frozenset(given))),
        )

    def _derive(self, node: Node) -> None:
        """Computes the delta of a node whose tails are done, and its contributions."""
        terms = [self._with_cuts(node, term) for term in self.terms.get(node, ())]
        with declared_at(self.graph.name_of(node), node.origin):
            total, *others = [term.value for term in terms] or [self._start()]
            for value in others:
                total = _plus(total, value)
        self._add_steps(total, node, "")
        delta = self._record(node, total, terms)
        self.order.append(delta)
        for head, position, value in self._contributions(node, delta):
            self._add_term(head, DeltaTerm(node, position, value, self.graph.name_of(node)))

    def _start(self) -> Node:
        """The delta of the target, with which the walk starts."""
        return constant(1.0, self.target.dtype) if self.seed is None else self.seed

    def _record(self, node: Node, total: Node, terms: Sequence[DeltaTerm[Node]]) -> Node:
        """Records the delta of a node after its cuts, and names it. Returns the delta."""
        changes = self._changes(node, None, total)
        total = changes[-1].after if changes else total
        names = declared_names(self.graph, node)
        called = [self._free_name(delta_name(name, self.label), total) for name in names]
        self.names.update(dict.fromkeys(called, total))
        self.deltas.append(
            Delta(node, total, tuple(names), called[0], tuple(terms), tuple(changes))
        )
        return total

    def _contributions(self, node: Node, delta: Node) -> list[tuple[Node, int, Node]]:
        """The contributions of `node` to its heads: (head, position, contribution)."""
        heads, between = node.heads, self.between
        if not any(head in between and head.type.is_float for head in heads):
            return []
        name, rule = self.graph.name_of(node), node.operation.delta
        if rule is None:
            raise DeclarationError(
                f"{name!r}: the operation {node.operation.name} has no delta rule",
                node.origin,
                "wrap its head in stop_gradient(), or give it a rule: with_delta(…)",
            )
        terms, inside = [], rule_scope(name, self.label)
        with declared_at(inside, node.origin):
            given = rule(delta, node, *heads)
            _check_rule(node, given)
            for position, (head, contribution) in enumerate(zip(heads, given, strict=True)):
                if contribution is None or head not in between or not head.type.is_float:
                    continue
                terms.append((head, position, _same_type(node, head, contribution)))
        for _, _, value in terms:
            self._add_steps(value, node, inside)
        return terms

    def _add_term(self, head: Node, term: DeltaTerm[Node]) -> None:
        """Adds a contribution to those of its head; a tail that uses a head twice has two."""
        aliases = declared_names(self.graph, head)
        tail, name, number = term.name, term.name, 1
        names = [contribution_name(alias, name, self.label) for alias in aliases]
        while any(
            full in self.contribution_names or self._is_taken(full, term.value) for full in names
        ):
            number += 1
            name = f"{tail}#{number}"
            names = [contribution_name(alias, name, self.label) for alias in aliases]
        self.contribution_names.update(dict.fromkeys(names, term.value))
        self.terms.setdefault(head, []).append(term._replace(name=name))

    def _add_steps(self, node: Node, owner: Node, scope: str) -> None:
        """Records `node` and its new ancestors as intermediate nodes of the delta of `owner`."""
        name, waiting = self.graph.name_of(owner), [node]
        while waiting:
            node = waiting.pop()
            if node not in self.known:
                self.known.add(node)
                self.steps.append(RuleStep(node, owner, name, scope))
                waiting.extend(node.heads)

    # ------------------------------------------------------------ cuts

    def _with_cuts(self, head: Node, term: DeltaTerm[Node]) -> DeltaTerm[Node]:
        """A contribution after the cuts of its edge."""
        changes = self._changes(head, term, term.value)
        if not changes:
            return term
        value = changes[-1].after
        for alias in declared_names(self.graph, head):
            self.contribution_names[contribution_name(alias, term.name, self.label)] = value
        return term._replace(value=value, changes=tuple(changes))

    def _changes(self, node: Node, term: DeltaTerm[Node] | None, value: Node) -> list[Change[Node]]:
        """The changes that cuts make, one by one, to the delta of a node or one term of it."""
        changes: list[Change[Node]] = []
        tail = None if term is None else term.tail
        for located in self.cuts:
            if located.node is not node or located.tail is not tail:
                continue
            name = self.graph.name_of(node)
            with declared_at(delta_name(name, self.label), node.origin):
                new = located.cut.change(value)
            if new.type != value.type:
                raise DeclarationError(
                    f"surgery {located.cut}: the delta is {value.type}, its replacement {new.type}",
                    node.origin,
                    "a delta has the shape and dtype of its node",
                )
            self._add_steps(new, node, "")
            sender = "" if tail is None else self.graph.name_of(tail)
            self._name_cut(cut_name(name, located.cut.kind, sender, self.label), new)
            if tail is None:
                self._name_cut(cut_name(name, "before", label=self.label), value)
            changes.append(Change(located.cut.kind, value, new))
            value = new
        return changes

    def _name_cut(self, name: str, node: Node) -> None:
        self.cut_names[self._free_name(name, None)] = node

    # ------------------------------------------------------------ names and record

    def _free_name(self, name: str, node: Node | None) -> str:
        """The name, with a number if another node has it already: a user may choose any name."""
        free, number = name, 1
        while self._is_taken(free, node):
            number += 1
            free = f"{name}_{number}"
        return free

    def _is_taken(self, name: str, node: Node | None) -> bool:
        """Whether a node other than this one has the name."""
        known = (self.graph.names, self.names, self.contribution_names, self.cut_names)
        return any(names.get(name, node) is not node for names in known)

    def _derivation(self, names: frozenset[str]) -> Derivation:
        """The derivation: a record with nodes given by their index in a table, and the table."""
        table: dict[Node, int] = {}

        def at(node: Node) -> int:
            return table.setdefault(node, len(table))

        def changes(found: Iterable[Change[Node]]) -> tuple[Change[int], ...]:
            return tuple([Change(kind, at(before), at(after)) for kind, before, after in found])

        record = DerivationRecord(
            self.label,
            at(self.target),
            None if self.seed is None else at(self.seed),
            tuple([at(leaf) for leaf in self.leaves]),
            tuple(
                [
                    Delta(
                        at(node),
                        at(value),
                        names,
                        called,
                        tuple(
                            [
                                DeltaTerm(at(tail), position, at(part), name, changes(made))
                                for tail, position, part, name, made in terms
                            ]
                        ),
                        changes(cut),
                    )
                    for node, value, names, called, terms, cut in self.deltas
                ]
            ),
            tuple(
                [
                    RuleStep(at(node), at(owner), name, scope)
                    for node, owner, name, scope in self.steps
                ]
            ),
            tuple(
                [
                    LocatedCut(cut, at(node), None if tail is None else at(tail))
                    for cut, node, tail in self.cuts
                ]
            ),
            names,
        )
        return Derivation(record, list(table))


def declared_names(graph: Graph, node: Node) -> list[str]:
    """The name that the graph shows, then all others that the node was declared with."""
    shown = graph.name_of(node)
    return [shown, *(n for n in graph.names_of(node) if n in node.names and n != shown)]


def _need_no_deltas(graph: Graph, nodes: set[Node], label: str) -> None:
    for derivation in graph.derivations:
        if derivation.label != label:
            continue
        for node in graph.nodes:
            if node in nodes and node in derivation.of_node:
                raise DeclarationError(
                    f"this graph already has a {label} of {graph.name_of(node)!r}",
                    node.origin,
                    f'derive with another label: derive(graph, of, label="{label}2")',
                )


def _check_rule(node: Node, given: Any) -> None:
    """Raises DeclarationError unless a rule has given a node or None for each head."""
    reason = ""
    if not isinstance(given, tuple | list):
        reason = f"gives {type(given).__name__} and not a tuple of contributions"
    elif len(given) != len(node.heads):
        reason = f"gives {len(given)} contributions for {len(node.heads)} heads"
    elif wrong := [item for item in given if not isinstance(item, Node | None)]:
        reason = f"gives {type(wrong[0]).__name__} as a contribution"
    if reason:
        raise DeclarationError(
            f"the delta rule of {node.operation.name} {reason}",
            node.origin,
            "give (delta_1, delta_2, …): a node for each head, or None where nothing is sent",
        )


def _plus(a: Node, b: Node) -> Node:
    """The sum of two contributions; of those of 16 bits in float32, rounded once."""
    if not a.type.is_half:
        return a + b
    return cast(cast(a, FLOAT32) + cast(b, FLOAT32), a.dtype)


def _same_type(node: Node, head: Node, contribution: Node) -> Node:
    """The contribution, summed along the axes in which the head was broadcast."""
    if contribution.rank < head.rank:
        contribution = broadcast_to(contribution, node.shape)
    aligned = contribution.shape[contribution.rank - head.rank :]
    pairs = zip(aligned, head.shape, strict=True)
    if contribution.dtype != head.dtype or not all(a == b or 1 in (a, b) for a, b in pairs):
        raise DeclarationError(
            f"the delta rule of {node.operation.name} gives {contribution.type} for a head of "
            f"type {head.type}",
            node.origin,
            "a contribution has the shape of the head or of the result",
        )
    shape = tuple(1 if a == 1 else b for a, b in zip(aligned, head.shape, strict=True))
    if contribution.type.is_half and contribution.shape != shape:
        fitted = cast(sum_to(cast(contribution, FLOAT32), shape), head.dtype)
    else:
        fitted = sum_to(contribution, shape)
    return fitted if fitted.shape == head.shape else broadcast_to(fitted, head.shape)
