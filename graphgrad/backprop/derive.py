"""Backpropagation, derived symbolically: the deltas of a graph are nodes of the same graph.

For a scalar L and every node u that L depends on,

    δ_u = ∂L/∂u = Σ_{t ∈ tails(u)} δ_{u←t},        δ_{u←t} = the delta rule of t applied to δ_t

Each contribution δ_{u←t} is a node of its own. Which delta belongs to which node, and which
contribution came from which tail, is written down in the graph's `derivations`; for people the sum
is named `u.delta`, the contribution `u.delta<-t`, and what a rule computes on the way is scoped
under `t.rule`. Scopes and lines of the forward nodes are inherited, so a delta can be found, drawn
and explained like anything else.

The deltas are ordinary nodes made of ordinary operations, so `derive` applied to a graph that holds
deltas gives second derivatives. The pass walks the order backwards once: linear, no recursion.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphgrad.backprop.backwards import Backwards
from graphgrad.backprop.cuts import need_no_updates, plan_cuts
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph import DELTA, Graph, Node, input, parameter
from graphgrad.graph.deltas import Derivation, Operated, Planned, delta_name
from graphgrad.graph.verify import need_graph


def derive(
    graph: Graph,
    of: str | Node,
    wrt: str | Node | Iterable[str | Node] | None = None,
    seed: Node | None = None,
    label: str = DELTA,
    cuts: Iterable[Operated] = (),
) -> Graph:
    """The graph with the deltas of the node `of` added, for all nodes between `wrt` and it.

    `wrt` defaults to every float parameter and input, so every node on a way from them to `of` gets
    its delta. `of` must be a scalar unless a `seed` of its shape gives its delta. `label` takes the
    place of "delta" in the names: a second derivation of the same nodes needs another, and its
    deltas are asked for with it: `graph.delta("x", label)`. `cuts` change named deltas before they
    flow on (`graphgrad.passes.surgery`).
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
        raise DeclarationError(f"{graph.name_of(target)!r} is {target.type}: no float, no delta")
    if seed is not None and seed.type != target.type:
        raise DeclarationError(
            f"the seed is {seed.type}, the node it is the delta of {target.type}"
        )
    leaves = _leaves(graph, wrt)
    return with_cuts(Backwards(graph, target, leaves, seed, label, ()).derived(), cuts, label)


def deltas_of(graph: Graph, nodes: Iterable[Node], label: str = DELTA) -> list[Node]:
    """The deltas that `derive` gave to these nodes."""
    return [graph.delta(node, label) for node in nodes]


def has_deltas(graph: Graph, label: str = DELTA) -> bool:
    """Whether the graph was derived under this label."""
    return any(each.label == label for each in graph.derivations)


def is_derived_from(graph: Graph, node: Node, label: str = DELTA) -> bool:
    """Whether there are deltas of `node` under this label."""
    ours = (each for each in graph.derivations if each.label == label)
    return any(each.at(each.script.of) is node for each in ours)


def _leaves(graph: Graph, wrt: str | Node | Iterable[str | Node] | None) -> list[Node]:
    if wrt is None:
        return [n for n in graph.nodes if n.operation in (parameter, input) and n.type.is_float]
    return [graph[name] for name in ([wrt] if isinstance(wrt, str | Node) else wrt)]


# ---------------------------------------------------------------- again, with cuts


def with_cuts(graph: Graph, cuts: Iterable[Operated], label: str = DELTA) -> Graph:
    """The derived graph, derived again with these cuts after those that it has.

    Equal nodes are one node, so a delta may belong to several nodes at once (an addition hands its
    delta on unchanged); only a new walk tells what lies behind the cut. What it does not change
    comes out as the node that it was.
    """
    cuts = tuple(cuts)
    if not cuts:
        return graph
    planned = plan_cuts(graph, cuts, label)
    need_no_updates(graph, label)
    for derivation in graph.derivations:
        ours = [plan for plan in planned if plan.node in derivation.of_node]
        if derivation.label == label and ours:
            graph = _derived_again(graph, derivation, ours)
    return graph


def _derived_again(graph: Graph, old: Derivation, planned: list[Planned[Node]]) -> Graph:
    """The graph with the deltas of one derivation made anew."""
    script = old.script
    target, seed = old.at(script.of), None if script.seed is None else old.at(script.seed)
    if target is None or (seed is None and script.seed is not None):
        raise UnknownNameError(
            "the node that the deltas are derived from is not part of this graph any more",
            fix="cut before a pass removes it: derive(graph, of, cuts=…)",
        )
    leaves = [node for node in map(old.at, script.leaves) if node is not None]
    before = list(old.planned())
    plain = _without(graph, old, target)
    new = Backwards(plain, target, leaves, seed, old.label, [*before, *planned]).derived()
    return new.changed(
        {name: _renewed(name, node, graph, old, new) for name, node in graph.outputs.items()}
    )


def _without(graph: Graph, old: Derivation, target: Node) -> Graph:
    """The graph without what only this derivation has added; its outputs that are deltas too."""
    forward = graph.ancestors([*old.of_node, target])
    backward = graph.ancestors(old.owners) - forward - set(graph.inputs.values())
    backward -= set(graph.states.values())
    names = {
        name: node
        for name, node in graph.names.items()
        if name not in old.script.names and node not in backward
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
    """The new node of an output that is a delta."""
    if name in old.script.names and graph.names.get(name) is node:
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
            f"call outputs that are deltas by their names: {delta_name('u', old.label)}",
        )
    return found.pop() if found else node
