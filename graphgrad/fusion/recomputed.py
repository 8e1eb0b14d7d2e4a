"""Finds values that a device computes again rather than stores: those between two kernels that are
made of one matrix product and of numbers of its rows.

The probabilities of a cross-entropy, for example, are eˣ less their largest, x being logits: the
kernel of the deltas reads the logits and the largest of each row, and the kernel of the losses
writes no eˣ. The product is in memory anyway, and takes the place that the value would have had.

All kernels of a device give an expression the same bits, so comparisons are safe there; where NumPy
computes beside kernels they would not be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from graphgrad.fusion.reading import Role
from graphgrad.fusion.region import Region, reads_alike
from graphgrad.fusion.slow import fits_a_kernel
from graphgrad.graph import Graph, Node
from graphgrad.ops.contraction import matmul

LONGEST = 8
"""Operations that a kernel computes again at most."""


def recomputed_values(
    graph: Graph, regions: Sequence[Region], rematerialised: Collection[Node]
) -> set[Node]:
    """The values, and what they are made of, that every kernel computes again; `rematerialised` are
    others of that kind."""
    kept = {*graph.outputs.values(), *graph.updates.values()}
    found: set[Node] = set()
    for region in regions:
        for node in region.roles:
            if node in kept or node in rematerialised or not _leaves(graph, region, node):
                continue
            chain = _made_of(region, node)
            if chain and kept.isdisjoint(chain) and _alone(graph, region, node, chain):
                found |= chain - set(rematerialised)
    return found


def _leaves(graph: Graph, region: Region, node: Node) -> bool:
    """Whether a float of the whole size is read by another kernel."""
    if region.roles[node] != Role.FULL or not node.type.is_float:
        return False
    return any(tail not in region.roles for tail in graph.tails(node))


def _made_of(region: Region, node: Node) -> set[Node]:
    """The operations that make the node of one product and numbers of its rows; empty if it is made
    of anything else."""
    chain, products, rows, waiting = set[Node](), set[Node](), 0, [node]
    while waiting:
        its = waiting.pop()
        chain.add(its)
        if len(chain) > LONGEST or not fits_a_kernel(its):
            return set()
        for head in its.heads:
            role = region.roles.get(head)
            rows += role == Role.ROW
            if role == Role.FULL:
                waiting += [head] if head not in chain else []
            elif role is None and head.type.sizes == region.space:
                products.add(head)
    (product, *others) = products or {node}
    return chain if rows and not others and product.operation is matmul else set()


def _alone(graph: Graph, region: Region, node: Node, chain: Iterable[Node]) -> bool:
    """Whether the chain is read as a kernel can compute it, and but for the node by this kernel."""
    return all(
        reads_alike(tail, each) and (each is node or tail in region.roles)
        for each in chain
        for tail in graph.tails(each)
    )
