"""Products with the deltas of one attention, which lie side by side: a batch, one launch.

    query.w.delta = xᵀ · δ_query         δ_query · W_queryᵀ
    key.w.delta   = xᵀ · δ_key           δ_key · W_keyᵀ
    value.w.delta = xᵀ · δ_value         δ_value · W_valueᵀ

Such products are small: one by itself leaves most of a device idle. The inner size of those on the
left is that of a batch of sentences, the result that of a weight. Where the arrays turn out not to
lie at equal distances, each product is a launch by itself; the casts of weights to 16 bits, which
are the first values of a program, mostly do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphgrad import ops
from graphgrad.backends.cupy.kernel_files import joined_axes
from graphgrad.backends.cupy.launches import Array
from graphgrad.fusion import Group
from graphgrad.graph import LEAVES, Node
from graphgrad.schedule import Schedule


@dataclass(frozen=True, eq=False, kw_only=True)
class ProductBatch(Group):
    """Products with values that one step computes, in the order in which these lie."""


def join_batches(schedule: Schedule, groups: Sequence[Group]) -> list[Group]:
    """The groups in order, with products joined in the place of the last of them."""
    source_of = {node: group for group in groups if _is_source(group) for node in group.outputs}
    number_of = {node: number for number, group in enumerate(groups) for node in group.outputs}
    alike: dict[tuple[Any, ...], list[Node]] = {}
    for group in groups:
        product = group.nodes[0]
        if len(group.nodes) > 1 or not _is_one_matrix(product):
            continue
        if product in schedule.graph.updates.values():
            continue
        for side in (0, 1):
            source = source_of.get(_root(schedule, product.heads[side]))
            if source is not None and (side or _is_placed(schedule, product.heads[1])):
                key = _key(product, source, side, product in schedule.before_guards)
                alike.setdefault(key, []).append(product)
                break
    found: dict[int, list[Group]] = {}
    ordered = _ordered(schedule, alike)
    for (source, side, *_), its in alike.items():
        for products in _until_read(schedule, groups, {each: number_of[each] for each in its}):
            numbers = [number_of[product] for product in products]
            if len(products) > 1:
                found |= {number: [] for number in numbers}
                found[groups.index(source)] = [ordered[source]]
                found[max(numbers)] = [_batch(schedule, ordered[source], side, products)]
    return [its for number, group in enumerate(groups) for its in found.get(number, [group])]


def _ordered(
    schedule: Schedule, alike: Mapping[tuple[Any, ...], Sequence[Node]]
) -> dict[Group, Group]:
    """The sources, with what they compute side by side, in the order of the values that it is
    multiplied with from the right."""
    position: dict[Node, int] = {}
    for (_, side, *_), products in alike.items():
        for left, right in (product.heads for product in products if not side):
            position[_root(schedule, left)] = schedule.graph.position(_root(schedule, right))
    return {
        source: replace(
            source,
            outputs=tuple(sorted(source.outputs, key=lambda node: position.get(node, -1))),
            side_by_side=True,
        )
        for source, *_ in alike
    }


def _is_source(group: Group) -> bool:
    """Whether one step computes several values that may lie side by side."""
    sizes = {group.bytes_of(node) for node in group.outputs}
    return group.nest is None and len(group.outputs) > 1 and len(sizes) == 1


def _root(schedule: Schedule, node: Node) -> Node:
    while node in schedule.layouts.views:
        node = node.heads[0]
    return node


def _key(product: Node, source: Group, side: int, early: bool) -> tuple[Any, ...]:
    """What is equal for the products of a batch; a left side is one for all if the right is not."""
    types = (product.type, *(head.type for head in product.heads))
    left = product.heads[0] if side else None
    return source, side, left, early, types, tuple(product.attributes.values())


def _until_read(
    schedule: Schedule, groups: Sequence[Group], number_of: Mapping[Node, int]
) -> list[list[Node]]:
    """Products by the numbers of their groups: those together of which none is read before the last
    is computed."""
    runs: list[list[Node]] = [[]]
    for product, number in number_of.items():
        between = groups[number_of[runs[-1][0]] : number] if runs[-1] else []
        read = {_root(schedule, head) for group in between for head in group.inputs}
        if not read.isdisjoint(runs[-1]):
            runs.append([])
        runs[-1].append(product)
    return runs


def _is_one_matrix(node: Node) -> bool:
    """Whether a node is a product with one matrix on the right, and one, or rows of rows, on the
    left."""
    if node.operation is not ops.matmul or node.heads[1].rank != 2:
        return False
    return node.heads[0].rank == 2 or not node.attributes["transpose_a"]


def _is_placed(schedule: Schedule, node: Node) -> bool:
    """Whether the plan says where a value lies, and not a user."""
    return _root(schedule, node).operation not in LEAVES


def _batch(schedule: Schedule, source: Group, side: int, products: Sequence[Node]) -> ProductBatch:
    order = {node: number for number, node in enumerate(source.outputs)}
    nodes = tuple(sorted(products, key=lambda its: order[_root(schedule, its.heads[side])]))
    inputs = dict.fromkeys(head for node in nodes for head in node.heads)
    return ProductBatch(nodes, tuple(inputs), nodes, side_by_side=True)


def stacked(arrays: Sequence[Array]) -> Array | None:
    """Matrices as one array with an axis more, rows of rows as rows; None unless they are alike
    and lie at equal distances."""
    first, second = arrays[:2]
    sizes, strides, _ = joined_axes(first.shape[:-1], first.strides[:-1], first.strides[:-1])
    if len(sizes) > 1:
        return None
    step = second.offset - first.offset
    wanted = [replace(first, offset=first.offset + place * step) for place in range(len(arrays))]
    if list(arrays) != wanted or step < 0:
        return None
    shape = len(arrays), *sizes, first.shape[-1]
    return replace(first, shape=shape, strides=(step, *strides, first.strides[-1]))
