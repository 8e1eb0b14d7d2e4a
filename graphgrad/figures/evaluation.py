"""Evaluates the nodes of a graph for one batch, as a run computes them, without a program.

The graph is optimised by the passes of training, then evaluated node by node by the reference
(`ops.evaluate`). So the values are those that a run computes, in the same form (a stabilised
log-softmax, say), but no program with hundreds of outputs is planned and compiled, each value is
freed after its last use, and no state is updated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from graphgrad.compile import compile
from graphgrad.errors import UnknownNameError
from graphgrad.graph import STATEFUL, Graph, Node, constant, input, leaf_name
from graphgrad.ops.evaluate import evaluate_node
from graphgrad.passes import PASSES, Pass, optimise, sizes_of, specialise

Arrays = Mapping[str, np.ndarray]


def distinct_values(
    graph: Graph,
    nodes: Iterable[Node],
    feeds: Arrays,
    state: Arrays,
    passes: Sequence[Pass] = PASSES,
    backend: str = "numpy",
) -> Iterator[tuple[list[Node], np.ndarray]]:
    """Yields each distinct value of these nodes of a specialised graph, in order of computation.

    It comes with all nodes that have it: several, if the passes merge equal nodes. With another
    backend than numpy a program of it computes all values, which are its outputs.
    """
    wanted = {str(graph.position(node)): node for node in nodes}  # any text can be a name
    optimised, _ = optimise(graph.with_outputs(wanted, {}), passes)
    merged: dict[Node, list[Node]] = {}
    for key, node in wanted.items():
        merged.setdefault(optimised.outputs[key], []).append(node)
    if backend != "numpy":
        program = compile(optimised, passes=(), backend=backend)
        found = program(state, {name: feeds[name] for name in optimised.inputs})
        for nodes in merged.values():
            yield nodes, found[str(graph.position(nodes[0]))]
        return
    for node, value in values_in_order(optimised, feeds, state):
        if node in merged:
            yield merged[node], value


def values_of(
    graph: Graph, nodes: Sequence[Node], feeds: Arrays, state: Arrays
) -> dict[Node, np.ndarray]:
    """Computes the values of nodes of a graph whose sizes may be open, for one batch."""
    specialised = specialise(graph, sizes_of(graph, feeds))
    originals: dict[Node, list[Node]] = {}
    for node in nodes:
        originals.setdefault(specialised.names[graph.name_of(node)], []).append(node)
    found: dict[Node, np.ndarray] = {}
    for merged, value in distinct_values(specialised, originals, feeds, state):
        copy = np.array(value)
        found.update((node, copy) for each in merged for node in originals[each])
    return found


def values_in_order(
    graph: Graph, feeds: Arrays, state: Arrays
) -> Iterator[tuple[Node, np.ndarray]]:
    """Evaluates a specialised graph in order and yields each node with its value.

    A value is freed after its last use: copy what has to stay.
    """
    last = {head: node for node in graph.nodes for head in node.heads}
    values: dict[Node, np.ndarray] = {}
    for node in graph.nodes:
        value = _value(node, values, feeds, state)
        yield node, value
        if node in last:
            values[node] = value
        for head in node.heads:
            if last[head] is node:
                values.pop(head, None)


def _value(
    node: Node, values: Mapping[Node, np.ndarray], feeds: Arrays, state: Arrays
) -> np.ndarray:
    if node.operation is constant:
        value: np.ndarray = node.attributes["value"].array
        return value
    if node.operation is input or node.operation in STATEFUL:
        source = feeds if node.operation is input else state
        if leaf_name(node) not in source:
            raise UnknownNameError(f"no value is given for {leaf_name(node)!r}")
        return np.asarray(source[leaf_name(node)], node.dtype)
    return evaluate_node(node, [values[head] for head in node.heads])
