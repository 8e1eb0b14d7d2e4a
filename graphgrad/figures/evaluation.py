"""The values of a batch, node by node, as a run computes them.

The graph goes through the same passes as for training and is then evaluated node by node by the
reference engine. So the values are those that a run computes, in the form in which it computes them
(a stabilised log-softmax, say), yet no program with hundreds of outputs has to be planned and
compiled, each value is dropped after its last reader, and no state is updated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from graphgrad.errors import UnknownNameError
from graphgrad.graph import STATEFUL, Graph, Node, constant, input, leaf_name
from graphgrad.ops.evaluate import evaluate_node
from graphgrad.passes import PASSES, Pass, optimise, sizes_of, specialise

Arrays = Mapping[str, np.ndarray]


def values_seen(
    graph: Graph,
    asked: Iterable[Node],
    feeds: Arrays,
    state: Arrays,
    passes: Sequence[Pass] = PASSES,
) -> Iterator[tuple[list[Node], np.ndarray]]:
    """Each value of the asked nodes of a specialised graph once, in the order of its computation,
    with the nodes that have it: several, where the passes find them equal."""
    wanted = {str(graph.position(node)): node for node in asked}  # names may be anything
    optimised, _ = optimise(graph.with_outputs(wanted, {}), passes)
    having: dict[Node, list[Node]] = {}
    for key, node in wanted.items():
        having.setdefault(optimised.outputs[key], []).append(node)
    for node, value in walk(optimised, feeds, state):
        if node in having:
            yield having[node], value


def values_of(
    graph: Graph, nodes: Sequence[Node], feeds: Arrays, state: Arrays
) -> dict[Node, np.ndarray]:
    """The values of nodes of a graph before its sizes are set, from one evaluation of a batch."""
    sized = specialise(graph, sizes_of(graph, feeds))
    asked: dict[Node, list[Node]] = {}
    for node in nodes:
        asked.setdefault(sized.names[graph.name_of(node)], []).append(node)
    kept: dict[Node, np.ndarray] = {}
    for having, value in values_seen(sized, asked, feeds, state):
        own = np.array(value)
        kept.update((node, own) for each in having for node in asked[each])
    return kept


def walk(graph: Graph, feeds: Arrays, state: Arrays) -> Iterator[tuple[Node, np.ndarray]]:
    """Evaluates a specialised graph in order and gives every value once, while it is there."""
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
