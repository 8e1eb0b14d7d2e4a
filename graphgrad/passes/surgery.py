"""Surgery on deltas: one named delta is clipped, scaled, stopped or replaced before it flows on.

    surgery(graph, [clip("encoder.0.attention", 1.0), scale("hidden.z<-output.a", 0.5)])

What is cut is named as everything is named: a node `u` means its whole delta, the sum over its
tails; `u<-t` means the one contribution that tail t sends back to u; a scope means the one node by
which values leave it. Everything behind it, towards the parameters, is computed from what the
surgery leaves, as with a hook on a tensor in other libraries; everything before it stays.

- It is visible: the new delta is called `u.delta.clip` besides `u.delta`, what it was before is
  `u.delta.before`, and for an edge `u.delta.clip<-t`. Formulas and pictures show it.
- Equal nodes are one node, so a delta may belong to several nodes at once (an addition hands its
  delta on unchanged). The surgery therefore does not replace nodes of the graph: it derives anew
  what lies behind the cut, by the same rules, and leaves the deltas of all others alone.
- It comes after `derive` and before updates are made of the deltas.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from graphgrad.backprop.derive import declared_names, send_back
from graphgrad.errors import ConfigurationError, DeclarationError, UnknownNameError
from graphgrad.graph import CONSTANT, DELTA, LEAVES, Graph, Node, constant, placed
from graphgrad.ops import broadcast_to, maximum, minimum, multiply, sqrt, sum
from graphgrad.ops.movement import COPY

Kind = Literal["clip", "clip_norm", "scale", "stop", "replace"]
KINDS: tuple[Kind, ...] = ("clip", "clip_norm", "scale", "stop", "replace")
ARROW = "<-"
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Operated:
    """One cut: where, what is done, and the change from the delta's node to the new one."""

    at: str
    kind: Kind
    change: Callable[[Node], Node]

    def __str__(self) -> str:
        return f"{self.kind} {self.at}"


def clip(at: str, limit: float) -> Operated:
    """Every element of the delta is held between -limit and limit."""
    limit = _positive("clip", at, limit)
    return Operated(at, "clip", lambda d: minimum(maximum(d, -limit), limit, name="clip"))


def clip_norm(at: str, limit: float) -> Operated:
    """The delta is made shorter where its norm √Σδ² is more than the limit; its direction stays."""
    limit = _positive("clip_norm", at, limit)

    def change(delta: Node) -> Node:
        norm = sqrt(sum(multiply(delta, delta)), name="norm")
        factor = minimum(limit / (norm + _TINY), 1.0, name="factor")
        return multiply(delta, factor, name="clip_norm")

    return Operated(at, "clip_norm", change)


def scale(at: str, factor: float) -> Operated:
    """The delta times a factor; -1 turns it round (gradient reversal)."""
    if not math.isfinite(factor):
        raise ConfigurationError(f"scale {at}: the factor {factor} is not finite")
    return Operated(at, "scale", lambda d: multiply(d, float(factor), name="scale"))


def stop(at: str) -> Operated:
    """The delta becomes 0, whatever it was, NaN included: nothing flows further back from here."""
    return Operated(
        at, "stop", lambda d: broadcast_to(constant(0.0, d.dtype), d.shape, name="stop")
    )


def replace(at: str, by: Node | Callable[[Node], Node]) -> Operated:
    """Another node in the place of the delta, or what a function makes of the delta's node."""

    def change(delta: Node) -> Node:
        given = by if isinstance(by, Node) else by(delta)
        if not isinstance(given, Node):
            raise DeclarationError(f"replace {at}: a node is needed, not {type(given).__name__}")
        return COPY(given, name="replace")

    return Operated(at, "replace", change)


def parse_surgery(text: str) -> tuple[Operated, ...]:
    """`clip u 1.0; scale u<-t 0.5; stop v`: surgery as one line of settings.

    Raises ConfigurationError for what is none. `replace` needs a node and so has no text.
    """
    made = {"clip": clip, "clip_norm": clip_norm, "scale": scale}
    found: list[Operated] = []
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        kind, *words = entry.split()
        try:
            if kind == "stop" and len(words) == 1:
                found.append(stop(words[0]))
                continue
            if kind in made and len(words) == 2:
                found.append(made[kind](words[0], float(words[1])))
                continue
        except ValueError:
            pass
        raise ConfigurationError(
            f"surgery {entry!r} is not understood",
            fix="write `clip NODE LIMIT`, `clip_norm NODE LIMIT`, `scale NODE FACTOR` or "
            "`stop NODE`, separated by `;`; an edge is HEAD<-TAIL",
        )
    return tuple(found)


def surgery(graph: Graph, cuts: Iterable[Operated]) -> Graph:
    """The derived graph with its deltas cut, in the order given.

    Raises UnknownNameError for a node or edge that is not there or has no delta, DeclarationError
    where the new delta has another type, or where updates are made of the deltas already.
    """
    cuts = tuple(cuts)
    if not cuts:
        return graph
    surgeon = _Surgeon(graph)
    for cut in cuts:
        surgeon.prepare(cut)
    return surgeon.operated()


class _Surgeon:
    """Derives anew, in the order of backpropagation, what the cuts change."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.at_node: dict[Node, list[Operated]] = {}
        self.at_edge: dict[tuple[Node, Node], list[Operated]] = {}
        self.deltas = {node: graph.names[f"{graph.name_of(node)}.{DELTA}"] for node in graph.nodes
                       if f"{graph.name_of(node)}.{DELTA}" in graph.names}  # fmt: skip
        self.new: dict[Node, Node] = {}
        self.sent: dict[tuple[Node, Node], list[Node]] = {}
        self.names: dict[str, Node] = {}
        _need_no_updates(graph, self.deltas.values())

    def prepare(self, cut: Operated) -> None:
        head_name, arrow, tail_name = cut.at.partition(ARROW)
        head = self._node(cut, head_name.strip())
        if not arrow:
            self.at_node.setdefault(head, []).append(cut)
            return
        tail = self._node(cut, tail_name.strip(), with_delta=False)
        if not self._names_of_sent(head, tail):
            tails = [self.graph.name_of(t) for t in self.graph.tails(head)
                     if self._names_of_sent(head, t)]  # fmt: skip
            raise UnknownNameError(
                f"surgery {cut}: {self.graph.name_of(tail)!r} sends nothing back to "
                f"{self.graph.name_of(head)!r}", str(head.origin or ""),
                f"its delta comes from {' and '.join(map(repr, tails)) or 'nothing'}",
            )  # fmt: skip
        self.at_edge.setdefault((head, tail), []).append(cut)

    def operated(self) -> Graph:
        for node in reversed(self.graph.nodes):
            if node in self.deltas:
                self._renew(node)
        if not self.new:
            return self.graph
        names = {**self.graph.names, **self.names}
        outputs = {name: self._output(name, node) for name, node in self.graph.outputs.items()}
        # what only the old deltas were computed with is gone, and its names are free again
        roots = [*outputs.values(), *self.graph.updates, *self.graph.updates.values()]
        roots += [node for node in self.graph.nodes if node in self.deltas]
        roots += [node for name, node in names.items() if f".{DELTA}" in name]
        needed = self.graph.ancestors([*roots, *_leaves(self.graph)])
        names = {name: node for name, node in names.items() if node in needed}
        order = [node for node in self.graph.nodes if node in needed]
        return Graph(outputs, self.graph.updates, names, order, self.graph.retired)

    def _renew(self, node: Node) -> None:
        """The new delta of one node, and what it sends back, where either changes."""
        graph, name = self.graph, self.graph.name_of(node)
        old = total = self.deltas[node]
        parts, changed = self._parts(node)
        if changed:
            with placed(name, node.origin):
                total = parts[0]
                for part in parts[1:]:
                    total = total + part
        for cut in self.at_node.get(node, ()):
            before, total = total, self._changed(cut, total, f"{name}.{DELTA}", "", node)
            self._add_name(f"{name}.{DELTA}.before", before)
        if total is old:
            return
        self.new[node] = total
        self.names.update((f"{alias}.{DELTA}", total) for alias in declared_names(graph, node))
        self._send(node, total)

    def _parts(self, node: Node) -> tuple[list[Node], bool]:
        """What the tails send back, in the order in which `derive` sums it."""
        parts, changed = [], False
        for tail in sorted(self.graph.tails(node), key=self.graph.position, reverse=True):
            keys = self._names_of_sent(node, tail)
            sent = [self.graph.names[key] for key in keys]
            renewed = self.sent.get((node, tail), sent)
            for cut in self.at_edge.get((node, tail), ()):
                scope = f"{self.graph.name_of(node)}.{DELTA}"
                mark = f"{ARROW}{self.graph.name_of(tail)}"
                renewed = [self._changed(cut, item, scope, mark, node) for item in renewed]
            if renewed != sent:
                changed = True
                for alias in declared_names(self.graph, node):
                    start = len(self.graph.name_of(node))
                    self.names.update(zip((alias + key[start:] for key in keys), renewed,
                                          strict=True))  # fmt: skip
            parts += renewed
        return parts, changed

    def _send(self, node: Node, delta: Node) -> None:
        if node.operation.delta is None or not node.heads:
            return
        self.sent.update(((head, node), []) for head in node.heads)
        for head, item in send_back(self.graph, node, delta, set(self.deltas), DELTA):
            self.sent[head, node].append(item)

    def _changed(self, cut: Operated, delta: Node, scope: str, mark: str, node: Node) -> Node:
        with placed(scope, node.origin):
            new = cut.change(delta)
        if new.type != delta.type:
            raise DeclarationError(
                f"surgery {cut}: the delta is {delta.type}, its replacement {new.type}",
                str(node.origin or ""), "a delta has the shape and dtype of its node",
            )  # fmt: skip
        self._add_name(f"{scope}.{cut.kind}{mark}", new)
        return new

    def _add_name(self, name: str, node: Node) -> None:
        free, number = name, 1
        while free in self.names or free in self.graph.names:
            number += 1
            free = f"{name}_{number}"
        self.names[free] = node

    def _names_of_sent(self, head: Node, tail: Node) -> list[str]:
        """The names of what the tail sends back to the head."""
        for tail_name in self.graph.names_of(tail):
            key = f"{self.graph.name_of(head)}.{DELTA}{ARROW}{tail_name}"
            keys = [key, *(f"{key}#{number}" for number in range(2, len(tail.heads) + 1))]
            found = [key for key in keys if key in self.graph.names]
            if found:
                return found
        return []

    def _output(self, name: str, node: Node) -> Node:
        """The new node of an output that is a delta."""
        if name in self.names:
            return self.names[name]
        new = {self.new.get(owner, delta) for owner, delta in self.deltas.items() if delta is node}
        if len(new) > 1:
            raise DeclarationError(
                f"the output {name!r} is the delta of several nodes, of which some are cut",
                str(node.origin or ""), "call outputs that are deltas by their names: u.delta",
            )  # fmt: skip
        return new.pop() if new else node

    # ------------------------------------------------------------ names

    def _node(self, cut: Operated, name: str, with_delta: bool = True) -> Node:
        graph = self.graph
        node = {**graph.outputs, **graph.names}.get(name)
        node = self._exit(cut, name) if node is None else node
        if node is None:
            known = [graph.name_of(item) for item in self.deltas]
            near = difflib.get_close_matches(name, known, 3, 0.4)
            raise UnknownNameError(
                f"surgery {cut}: no node is called {name!r}",
                fix=f"did you mean {' or '.join(map(repr, near))}?" if near
                else "print the graph to see its names",
            )  # fmt: skip
        if with_delta and node not in self.deltas:
            raise UnknownNameError(
                f"surgery {cut}: node {name!r} has no delta in this graph", str(node.origin or ""),
                "derive(graph, loss) first; a node that the loss does not depend on has none",
            )  # fmt: skip
        return node

    def _exit(self, cut: Operated, scope: str) -> Node | None:
        """The one node by which values leave a scope; None where it is no scope."""
        inside = {node for node in self.deltas if node.heads
                  and self.graph.name_of(node).startswith(f"{scope}.")}  # fmt: skip
        exits = [node for node in inside if any(tail in self.deltas and tail not in inside
                                                for tail in self.graph.tails(node))]  # fmt: skip
        if len(exits) > 1:
            listed = sorted(map(self.graph.name_of, exits))
            raise UnknownNameError(f"surgery {cut}: {scope!r} is a scope with several results",
                                   fix=f"name one of them: {', '.join(listed)}")  # fmt: skip
        return exits[0] if exits else None


def _leaves(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.operation in LEAVES and node.operation is not
            CONSTANT]  # fmt: skip


def _positive(kind: str, at: str, limit: float) -> float:
    if not (math.isfinite(limit) and limit > 0):
        raise ConfigurationError(f"{kind} {at}: the limit must be above 0, not {limit}",
                                 fix=f"stop {at} makes the delta 0")  # fmt: skip
    return float(limit)


def _need_no_updates(graph: Graph, deltas: Iterable[Node]) -> None:
    made = graph.descendants(deltas)
    for leaf, node in graph.updates.items():
        if node in made:
            raise DeclarationError(
                f"the update of {graph.name_of(leaf)!r} is made of the deltas already",
                str(leaf.origin or ""),
                "cut first, then declare updates: training_step(graph, settings) does with "
                "settings.surgery",
            )


__all__: Sequence[str] = [
    "KINDS", "Operated", "clip", "clip_norm", "parse_surgery", "replace", "scale", "stop",
    "surgery",
]  # fmt: skip
