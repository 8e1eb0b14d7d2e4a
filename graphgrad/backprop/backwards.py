"""The walk of backpropagation: from a node back to the leaves, one delta after the other.

    δ_u = Σ_{t ∈ tails(u)} δ_{u←t},        δ_{u←t} = the delta rule of t applied to δ_t

Linear in the graph and without recursion. What was found is written down as a `Derivation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphgrad.errors import DeclarationError
from graphgrad.graph import Graph, Node, constant, placed
from graphgrad.graph.deltas import (
    Change,
    Delta,
    Derivation,
    Planned,
    RuleStep,
    Script,
    Sent,
    cut_name,
    delta_name,
    rule_scope,
    sent_name,
)
from graphgrad.ops import broadcast_to
from graphgrad.ops.reduction import sum_to


class Backwards:
    """One walk from a node back to the leaves. The cuts that are `planned` change a delta, or what
    a tail sends back, before anything is made of it."""

    def __init__(
        self,
        graph: Graph,
        target: Node,
        leaves: Sequence[Node],
        seed: Node | None,
        label: str,
        planned: Sequence[Planned[Node]],
    ) -> None:
        self.graph, self.target, self.leaves = graph, target, leaves
        self.seed, self.label, self.planned = seed, label, planned
        self.between = graph.ancestors([target]) & graph.descendants(leaves)
        _need_no_deltas(graph, self.between.union(leaves, [target]), label)
        self.sent: dict[Node, list[Sent[Node]]] = {}
        self.deltas: list[Delta[Node]] = []
        self.steps: list[RuleStep[Node]] = []
        self.known = set(graph.nodes)
        # deltas before contributions: a node that is both is shown as the delta
        self.names: dict[str, Node] = {}
        self.sent_names: dict[str, Node] = {}
        self.cut_names: dict[str, Node] = {}
        self.order = list(graph.nodes)

    def derived(self) -> Graph:
        """The graph with all deltas."""
        graph = self.graph
        self.known |= graph.ancestors([] if self.seed is None else [self.seed])
        for node in reversed(graph.nodes):
            if node in self.between and (node is self.target or node in self.sent):
                self._derive(node)
        reached = {delta.node for delta in self.deltas}
        for node in self.leaves:  # a leaf that L does not depend on has the delta 0
            if node.type.is_float and node not in reached:
                with placed(graph.name_of(node), node.origin):
                    zero = broadcast_to(constant(0.0, node.dtype), node.shape)
                self._write(node, zero, [])
        given = {**self.names, **self.sent_names, **self.cut_names}
        return graph.changed(
            names={**graph.names, **given},
            order=self.order,
            derivations=(*graph.derivations, self._derivation(frozenset(given))),
        )

    def _derive(self, node: Node) -> None:
        """The delta of a node whose tails have all sent theirs, and what it sends back itself."""
        sent = [self._with_cuts(node, item) for item in self.sent.get(node, ())]
        with placed(self.graph.name_of(node), node.origin):
            total, *others = [item.value for item in sent] or [self._start()]
            for value in others:
                total = total + value
        self._own(total, node, "")
        delta = self._write(node, total, sent)
        self.order.append(delta)
        for head, place, value in self._send_back(node, delta):
            self._note_sent(head, Sent(node, place, value, self.graph.name_of(node)))

    def _start(self) -> Node:
        """What the walk starts with: the delta of the target."""
        return constant(1.0, self.target.dtype) if self.seed is None else self.seed

    def _write(self, node: Node, total: Node, sent: Sequence[Sent[Node]]) -> Node:
        """Writes down the delta of a node, as the cuts there leave it, and its names."""
        changes = self._changes(node, None, total)
        total = changes[-1].after if changes else total
        names = declared_names(self.graph, node)
        called = [self._free_name(delta_name(name, self.label), total) for name in names]
        self.names.update(dict.fromkeys(called, total))
        self.deltas.append(Delta(node, total, tuple(names), called[0], tuple(sent), tuple(changes)))
        return total

    def _send_back(self, node: Node, delta: Node) -> list[tuple[Node, int, Node]]:
        """The contributions of `node` to those of its heads that have a delta, each with the place
        of the head."""
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
        sent, inside = [], rule_scope(name, self.label)
        with placed(inside, node.origin):
            given = rule(delta, node, *heads)
            _check_rule(node, given)
            for place, (head, contribution) in enumerate(zip(heads, given, strict=True)):
                if contribution is None or head not in between or not head.type.is_float:
                    continue
                sent.append((head, place, _same_type(node, head, contribution)))
        for _, _, value in sent:
            self._own(value, node, inside)
        return sent

    def _note_sent(self, head: Node, item: Sent[Node]) -> None:
        """Keeps a contribution for its head; a tail that uses a head twice sends back twice."""
        aliases = declared_names(self.graph, head)
        tail, name, number = item.name, item.name, 1
        names = [sent_name(alias, name, self.label) for alias in aliases]
        while any(full in self.sent_names or self._is_taken(full, item.value) for full in names):
            number += 1
            name = f"{tail}#{number}"
            names = [sent_name(alias, name, self.label) for alias in aliases]
        self.sent_names.update(dict.fromkeys(names, item.value))
        self.sent.setdefault(head, []).append(item._replace(name=name))

    def _own(self, node: Node, owner: Node, scope: str) -> None:
        """Writes down for whom the node, and what else is new of what it is made of, is there."""
        name, waiting = self.graph.name_of(owner), [node]
        while waiting:
            node = waiting.pop()
            if node not in self.known:
                self.known.add(node)
                self.steps.append(RuleStep(node, owner, name, scope))
                waiting.extend(node.heads)

    # ------------------------------------------------------------ cuts

    def _with_cuts(self, head: Node, item: Sent[Node]) -> Sent[Node]:
        """A contribution as the cuts at its edge leave it."""
        changes = self._changes(head, item, item.value)
        if not changes:
            return item
        value = changes[-1].after
        for alias in declared_names(self.graph, head):
            self.sent_names[sent_name(alias, item.name, self.label)] = value
        return item._replace(value=value, changes=tuple(changes))

    def _changes(self, node: Node, item: Sent[Node] | None, value: Node) -> list[Change[Node]]:
        """What the cuts make of the delta of a node or of what is sent back to it, one by one."""
        changes: list[Change[Node]] = []
        tail = None if item is None else item.tail
        for plan in self.planned:
            if plan.node is not node or plan.tail is not tail:
                continue
            name = self.graph.name_of(node)
            with placed(delta_name(name, self.label), node.origin):
                new = plan.cut.change(value)
            if new.type != value.type:
                raise DeclarationError(
                    f"surgery {plan.cut}: the delta is {value.type}, its replacement {new.type}",
                    node.origin,
                    "a delta has the shape and dtype of its node",
                )
            self._own(new, node, "")
            sender = "" if tail is None else self.graph.name_of(tail)
            self._name_cut(cut_name(name, plan.cut.kind, sender, self.label), new)
            if tail is None:
                self._name_cut(cut_name(name, "before", label=self.label), value)
            changes.append(Change(plan.cut.kind, value, new))
            value = new
        return changes

    def _name_cut(self, name: str, node: Node) -> None:
        self.cut_names[self._free_name(name, None)] = node

    # ------------------------------------------------------------ names and places

    def _free_name(self, name: str, node: Node | None) -> str:
        """The name, with a number where another node is called so: a user may call one anything."""
        free, number = name, 1
        while self._is_taken(free, node):
            number += 1
            free = f"{name}_{number}"
        return free

    def _is_taken(self, name: str, node: Node | None) -> bool:
        """Whether a node other than this one is called so."""
        known = (self.graph.names, self.names, self.sent_names, self.cut_names)
        return any(names.get(name, node) is not node for names in known)

    def _derivation(self, names: frozenset[str]) -> Derivation:
        """All of this, in numbers of places in a table of nodes."""
        table: dict[Node, int] = {}

        def at(node: Node) -> int:
            return table.setdefault(node, len(table))

        def changes(found: Iterable[Change[Node]]) -> tuple[Change[int], ...]:
            return tuple([Change(kind, at(before), at(after)) for kind, before, after in found])

        script = Script(
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
                                Sent(at(tail), place, at(part), name, changes(made))
                                for tail, place, part, name, made in sent
                            ]
                        ),
                        changes(cut),
                    )
                    for node, value, names, called, sent, cut in self.deltas
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
                    Planned(cut, at(node), None if tail is None else at(tail))
                    for cut, node, tail in self.planned
                ]
            ),
            names,
        )
        return Derivation(script, list(table))


def declared_names(graph: Graph, node: Node) -> list[str]:
    """The name that the graph shows, and all others that the node was declared with."""
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
    """A rule gives a contribution, a node or None, for each head."""
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
    fitted = sum_to(
        contribution, tuple(1 if a == 1 else b for a, b in zip(aligned, head.shape, strict=True))
    )
    return fitted if fitted.shape == head.shape else broadcast_to(fitted, head.shape)
