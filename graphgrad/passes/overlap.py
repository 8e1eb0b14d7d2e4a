"""Splits collectives into a start and a wait, so that ranks compute while they exchange values.

    y = all_reduce(x, before, number=3)     is     s = all_reduce_start(x, before's start, number=3)
                                                   y = wait(s, number=3)

Two nodes in place of one: so what is true of any value in memory is true of a sum on its way. Its
place is written by the start, is read by the wait and is left alone between the two, because the
plan never reuses what has a reader to come; the program has a line for each, which a profile times;
and whatever needs no result of the wait may run in between. Where start and wait run is decided on
the groups of the program (`graphgrad/plan/overlapped.py`): here they only become two.

The starts keep the order of the collectives, the same on all ranks: each has the one before it as
its last head. What has no place in that order (`number` -1) is left as it is, and so is what gives
a number that the next line needs (`sum_of_lower_ranks`).

The pass runs when the sizes are known, and after all others, which see one node for a collective.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphgrad.graph import Graph, Node, Operation, declared_at
from graphgrad.graph.node import with_heads
from graphgrad.ops.collectives import all_reduce, all_reduce_start, wait
from graphgrad.ops.shares import all_gather, all_gather_start, reduce_scatter, reduce_scatter_start

STARTS: Mapping[Operation, Operation] = {
    all_reduce: all_reduce_start,
    reduce_scatter: reduce_scatter_start,
    all_gather: all_gather_start,
}
"""What begins each collective. One whose result has a place of its own reads its head until the
wait, which then has to have it as a head, too."""


def overlap(graph: Graph) -> Graph:
    """The graph with a start and a wait for each collective that has a number."""
    if not any(node.operation in STARTS for node in graph.nodes):
        return graph
    made: dict[Node, Node] = {}
    begun: dict[Node, Node] = {}
    for node in graph.nodes:
        reads, number = node.operation.reads, node.attributes.get("number", -1)
        read = tuple([made[head] for head in node.heads[:reads]])
        before = () if reads is None else node.heads[reads:]
        heads = (*read, *(begun.get(each, made[each]) for each in before))
        with declared_at(graph.name_of(node), node.origin):
            if node.operation not in STARTS or number < 0:
                made[node] = node if heads == node.heads else with_heads(node, heads)
                continue
            start = STARTS[node.operation].node(*heads, name="start", **node.attributes)
            kept = () if start.operation.in_place else read
            begun[node], made[node] = start, wait.node(start, *kept, number=number)
    return graph.replace_nodes({old: new for old, new in made.items() if old is not new})
