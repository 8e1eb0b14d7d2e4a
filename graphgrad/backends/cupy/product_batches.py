"""Products of one matrix with several others, as one launch: a batch.

    query.w.delta = xᵀ · δ_query                     the deltas of one attention lie side by side,
    key.w.delta   = xᵀ · δ_key           1 launch    in the place that the plan gives all of them
    value.w.delta = xᵀ · δ_value

The inner size of such a product is that of a batch of sentences, and its result is small: one by
itself leaves most of a device idle. Where the arrays turn out not to lie at equal distances, each
is a launch by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from graphgrad import ops
from graphgrad.backends.cupy.launches import Array
from graphgrad.fusion import Group
from graphgrad.graph import Node
from graphgrad.schedule import Schedule


@dataclass(frozen=True, eq=False, kw_only=True)
class ProductBatch(Group):
    """Products whose left sides are one value, in the order in which their right sides lie."""


def join_batches(schedule: Schedule, groups: Sequence[Group]) -> list[Group]:
    """The groups in order, with products joined in the place of the last of them."""
    source_of = {node: group for group in groups if _is_source(group) for node in group.outputs}
    number_of = {node: number for number, group in enumerate(groups) for node in group.outputs}
    alike: dict[Hashable, list[Node]] = {}
    for group in groups:
        product = group.nodes[0]
        if len(group.nodes) > 1 or product.operation is not ops.matmul:
            continue
        source = source_of.get(_root(schedule, product.heads[1]))
        if source is not None and product not in schedule.graph.updates.values():
            left, right = product.heads
            shapes = left, right.type, tuple(product.attributes.values())
            sides = product in schedule.before_guards
            alike.setdefault((source, product.type, *shapes, sides), []).append(product)
    found: dict[int, list[Group]] = {}
    for (source, *_), products in alike.items():
        numbers = [number_of[product] for product in products]
        if len(products) < 2 or _read_before(schedule, groups, products, max(numbers)):
            continue
        found |= {number: [] for number in numbers}
        found[max(numbers)] = [_batch(schedule, source, products)]
        place = groups.index(source)
        found[place] = [replace(source, side_by_side=True)]
    return [its for number, group in enumerate(groups) for its in found.get(number, [group])]


def _is_source(group: Group) -> bool:
    """Whether one step computes several values that may lie side by side."""
    sizes = {group.bytes_of(node) for node in group.outputs}
    return group.nest is None and len(group.outputs) > 1 and len(sizes) == 1


def _root(schedule: Schedule, node: Node) -> Node:
    while node in schedule.layouts.views:
        node = node.heads[0]
    return node


def _read_before(
    schedule: Schedule, groups: Sequence[Group], products: Sequence[Node], last: int
) -> bool:
    """Whether a product is read before the last of them is computed."""
    read = {_root(schedule, head) for group in groups[: last + 1] for head in group.inputs}
    return not read.isdisjoint(products)


def _batch(schedule: Schedule, source: Group, products: Sequence[Node]) -> ProductBatch:
    order = {node: number for number, node in enumerate(source.outputs)}
    nodes = tuple(sorted(products, key=lambda its: order[_root(schedule, its.heads[1])]))
    inputs = dict.fromkeys(head for node in nodes for head in node.heads)
    return ProductBatch(nodes, tuple(inputs), nodes, side_by_side=True)


def stacked(arrays: Sequence[Array]) -> Array | None:
    """Arrays as one, with an axis more; None unless they are alike and lie at equal distances."""
    first, second = arrays[:2]
    step = second.offset - first.offset
    wanted = [replace(first, offset=first.offset + place * step) for place in range(len(arrays))]
    if list(arrays) != wanted or step < 0:
        return None
    return replace(first, shape=(len(arrays), *first.shape), strides=(step, *first.strides))
