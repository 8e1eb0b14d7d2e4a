"""Finds the neurons of a graph, with heads(u) and tails(u) as the lecture counts them: as neurons.

A neuron is a scope with an activation input `a` and an output `z` = φ(a), or an input that neurons
use. Its tails are the neurons in whose scopes its z is used: z_{h2} is multiplied by w_{h2→y1} in
the scope of y1, by w_{h2→y2} in that of y2. A layer with one `a` and one `z` counts as one neuron.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphgrad.backprop.selection import parts_of
from graphgrad.graph import Graph, Node, input
from graphgrad.text import printable


@dataclass(frozen=True)
class Neuron:
    """The names of a neuron, of its heads and of its tails; a name is the last part of a scope."""

    name: str
    heads: tuple[str, ...]
    tails: tuple[str, ...]

    def __str__(self) -> str:
        return f"heads({self.name}) = {_set(self.heads)}, tails({self.name}) = {_set(self.tails)}"


def neuron_of(graph: Graph, node: Node) -> Neuron | None:
    """The neuron that a node belongs to, with its heads and tails; None if it is not of one, or of
    one that no other neuron is connected with."""
    outputs = _outputs(graph)
    own = _scope(graph, node, outputs)
    if own is None:
        return None
    parts = parts_of(graph)
    heads: dict[str, None] = {}
    tails: dict[str, None] = {}
    for scope, z in outputs.items():
        for tail in graph.tails(z):
            user = _scope(graph, tail, outputs) if parts[tail] == "forward" else None
            if user is None or user == scope or not _feeds(graph, tail, user, outputs):
                continue
            if user == own:
                heads[_last(scope)] = None
            if scope == own:
                tails[_last(user)] = None
    return Neuron(_last(own), tuple(heads), tuple(tails)) if heads or tails else None


def _outputs(graph: Graph) -> Mapping[str, Node]:
    """The output of each neuron by its scope; an input by its name."""
    found = {name: node for name, node in graph.inputs.items() if node.operation is input}
    for name, node in graph.names.items():
        scope, _, last = name.rpartition(".")
        if last == "z" and scope and graph.names.get(f"{scope}.a") in node.heads:
            found[scope] = node
    return found


def _scope(graph: Graph, node: Node, outputs: Mapping[str, Node]) -> str | None:
    """The scope of the neuron that declares a node."""
    name = graph.name_of(node)
    while name and name not in outputs:
        name = name.rpartition(".")[0]
    return name or None


def _feeds(graph: Graph, node: Node, scope: str, outputs: Mapping[str, Node]) -> bool:
    """Whether a node is part of the neuron's `a`: the loss of a neuron uses the truth, a not."""
    pending = [graph.names[f"{scope}.a"]]
    while pending:
        found = pending.pop()
        if found is node:
            return True
        pending += [head for head in found.heads if _scope(graph, head, outputs) == scope]
    return False


def _last(scope: str) -> str:
    return printable(scope.rpartition(".")[2])


def _set(names: tuple[str, ...]) -> str:
    return "{" + ", ".join(names) + "}" if names else "∅"
