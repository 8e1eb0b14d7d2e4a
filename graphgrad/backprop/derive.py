"""Derives the deltas of a graph symbolically: they become nodes of the same graph.

For a scalar L and every node u that L depends on,

    δ_u = ∂L/∂u = Σ_{t ∈ tails(u)} δ_{u←t},        δ_{u←t} = the delta rule of t applied to δ_t

Each contribution δ_{u←t} is a node of its own. The graph's `derivations` record which delta belongs
to which node, and which contribution to which tail. For display the sum is named `u.delta`, the
contribution `u.delta<-t`, and the intermediate nodes of a rule are in the scope `t.rule`. Deltas
inherit the scopes and lines of the forward nodes, so they can be found, drawn and explained like
other nodes.

Deltas are ordinary nodes made of ordinary operations, so `derive` applied to a graph with deltas
gives second derivatives. The order is walked backwards once: the time is linear, and nothing
recurses.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphgrad.backprop.backward_walk import BackwardWalk
from graphgrad.backprop.cuts import locate_cuts, need_no_updates
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph import DELTA, Graph, Node, input, parameter
from graphgrad.graph.deltas import Cut, Derivation, LocatedCut, delta_name
from graphgrad.graph.verify import need_graph


def derive(
    graph: Graph,
    of: str | Node,
    wrt: str | Node | Iterable[str | Node] | None = None,
    seed: Node | None = None,
    label: str = DELTA,
    cuts: Iterable[Cut] = (),
) -> Graph:
    """The graph with δ_u = ∂L/∂u added for every node u between `wrt` and L, the node `of`.

    `of` is a scalar, or has the shape of `seed`, a node that gives its delta. `wrt` defaults to
    every float parameter and input. `label` replaces "delta" in the names: a second derivation of
    the same nodes needs another label, and `graph.delta("x", label)` finds its deltas. `cuts`
    change named deltas before they flow on (`graphgrad.passes.surgery`).

    Raises DeclarationError if `of` is not a scalar of floats, if an operation on the way has no
    delta rule, or if the nodes have deltas of this label already; UnknownNameError for a name that
    is not in the graph.

    >>> x, w = gg.input("x", (4, 3)), gg.parameter("w", (3, 2))
    >>> graph = gg.Graph({"loss": gg.sum(gg.tanh(x @ w), name="loss")})
    >>> derived = gg.derive(graph, "loss")
    >>> derived.delta("w")
    <w.delta = matmul : float32[3, 2]>
    """
    need_graph(graph, "derive")
    target = graph[of]
    if seed is None and target.shape != ():
        raise DeclarationError(
            f"{graph.name_of(target)!r} has shape {target.type}; only a scalar has deltas",
            target.origin,
            "sum or average it first, or give derive() a seed of its shape",
        )
    if not target.type.is_float:
        raise DeclarationError(
            f"{graph.name_of(target)!r} is {target.type}; only floats have deltas"
        )
    if seed is not None and seed.type != target.type:
        raise DeclarationError(
            f"the seed is {seed.type}; the node {graph.name_of(target)!r} is {target.type}"
        )
    leaves = _leaves(graph, wrt)
    return with_cuts(BackwardWalk(graph, target, leaves, seed, label, ()).derived(), cuts, label)


def deltas_of(graph: Graph, nodes: Iterable[Node], label: str = DELTA) -> list[Node]:
    """The deltas of these nodes."""
    return [graph.delta(node, label) for node in nodes]


def has_deltas(graph: Graph, label: str = DELTA) -> bool:
    """Whether the graph was derived under this label."""
    return any(each.label == label for each in graph.derivations)


def is_derived_from(graph: Graph, node: Node, label: str = DELTA) -> bool:
    """Whether the graph was derived from `node` under this label."""
    ours = (each for each in graph.derivations if each.label == label)
    return any(each.at(each.record.of) is node for each in ours)


def _leaves(graph: Graph, wrt: str | Node | Iterable[str | Node] | None) -> list[Node]:
    if wrt is None:
        return [n for n in graph.nodes if n.operation in (parameter, input) and n.type.is_float]
    return [graph[name] for name in ([wrt] if isinstance(wrt, str | Node) else wrt)]


# ---------------------------------------------------------------- again, with cuts


def with_cuts(graph: Graph, cuts: Iterable[Cut], label: str = DELTA) -> Graph:
    """The derived graph, derived again with these cuts after those that it has.

    Equal nodes are one node, so a delta may belong to several nodes at once (an addition passes its
    delta on unchanged). Only a new walk shows which deltas depend on the cut one; all others come
    out as the same nodes.
    """
    cuts = tuple(cuts)
    if not cuts:
        return graph
    located = locate_cuts(graph, cuts, label)
    need_no_updates(graph, label)
    for derivation in graph.derivations:
        ours = [each for each in located if each.node in derivation.of_node]
        if derivation.label == label and ours:
            graph = _derived_again(graph, derivation, ours)
    return graph


def _derived_again(graph: Graph, old: Derivation, cuts: list[LocatedCut[Node]]) -> Graph:
    """The graph with the deltas of one derivation computed anew."""
    record = old.record
    target, seed = old.at(record.of), None if record.seed is None else old.at(record.seed)
    if target is None or (seed is None and record.seed is not None):
        raise UnknownNameError(
            "the node that the deltas are derived from is not part of this graph any more",
            fix="cut before a pass removes it: derive(graph, of, cuts=…)",
        )
    leaves = [node for node in map(old.at, record.leaves) if node is not None]
    before = list(old.cuts())
    plain = _without(graph, old, target)
    new = BackwardWalk(plain, target, leaves, seed, old.label, [*before, *cuts]).derived()
    return new.changed(
        {name: _renewed(name, node, graph, old, new) for name, node in graph.outputs.items()}
    )


def _without(graph: Graph, old: Derivation, target: Node) -> Graph:
    """The graph without the nodes, names and outputs that only this derivation has added."""
    forward = graph.ancestors([*old.of_node, target])
    backward = graph.ancestors(old.owners) - forward - set(graph.inputs.values())
    backward -= set(graph.states.values())
    names = {
        name: node
        for name, node in graph.names.items()
        if name not in old.record.names and node not in backward
    }
    outputs = {name: node for name, node in graph.outputs.items() if node not in backward}
    roots = [*outputs.values(), *graph.updates, *graph.updates.values(), *names.values()]
    needed = graph.ancestors(roots)
    return graph.changed(
        outputs,
        names=names,
        order=[node for node in graph.nodes if node in needed],
        derivations=[each for each in graph.derivations if each is not old],
    )


def _renewed(name: str, node: Node, graph: Graph, old: Derivation, new: Graph) -> Node:
    """The new node of an output that may be a delta."""
    if name in old.record.names and graph.names.get(name) is node:
        return new.names.get(name, node)
    found = {
        new.delta(owner, old.label)
        for owner, delta in old.of_node.items()
        if old.value(delta) is node
    }
    if len(found) > 1:
        raise DeclarationError(
            f"the output {name!r} is the delta of several nodes, of which some are cut",
            node.origin,
            f"name outputs that are deltas like the deltas: {delta_name('u', old.label)}",
        )
    return found.pop() if found else node
