"""Steps that compute several operations at once: attention with its statistics, and its deltas.

These read the same heads, so they can be computed where the first of them is. A backend with
kernels for attention needs no working arrays of the plan for them; another one computes them one
after the other, in the same working arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from graphgrad.fusion.group import Group
from graphgrad.graph import Node
from graphgrad.graph.types import FLOAT32
from graphgrad.ops import dot_product_attention
from graphgrad.ops.attention import attention_delta, attention_statistics
from graphgrad.ops.attention_arrays import options_of

MOST_AXES = 4
"""Axes of what a kernel reads: two before the last two, such as batch and head."""


def with_joint_groups(
    groups: Sequence[Group], has_kernel: Callable[[Sequence[Node]], bool]
) -> list[Group]:
    """The groups, with those joined that belong to one attention, in the place of the first one.

    The first node of them comes last in its group: a step is named after that one, and it says
    whether the step runs before the guards. Where its nodes have a kernel, it has no working
    arrays.
    """
    open_groups: dict[Hashable, list[Group]] = {}
    found: list[list[Group]] = []
    for group in groups:
        key, kind = _key(group), _kind(group)
        joint = open_groups.get(key, []) if key is not None else []
        if not joint or kind in map(_kind, joint):  # two may have the same queries and keys
            joint = open_groups[key] = []
            found.append(joint)
        joint.append(group)
    return [_joined(each, has_kernel) for each in found]


def processor_computes(nodes: Sequence[Node], arrays: Mapping[Node, np.ndarray]) -> bool:
    """Whether the kernels of the NumPy backend compute this attention: float32, whose features lie
    side by side. All else is computed with working arrays, as the operations' blocks say."""
    first = nodes[0]
    floats = [node for node in dict.fromkeys((*first.heads, *nodes)) if node.type.is_float]
    return first.heads[0].rank <= MOST_AXES and all(
        node.dtype == FLOAT32
        and (node.type.sizes[-1] <= 1 or arrays[node].strides[-1] == node.dtype.itemsize)
        for node in floats
    )


def _kind(group: Group) -> Hashable:
    node = group.nodes[0]
    return node.operation, node.attributes.get("to")


def _joined(groups: Sequence[Group], has_kernel: Callable[[Sequence[Node]], bool]) -> Group:
    if _key(groups[0]) is None:
        return groups[0]
    nodes = [group.nodes[0] for group in groups]
    ordered = (*nodes[1:], nodes[0])
    inputs = dict.fromkeys(head for node in nodes for head in node.heads)
    by_kernel = has_kernel(ordered)
    scratch = () if by_kernel else max((group.scratch for group in groups), key=len)
    return Group(ordered, tuple(inputs), ordered, scratch, by_kernel=by_kernel)


def _key(group: Group) -> Hashable | None:
    """What is equal for nodes that one step computes; None for other groups."""
    node = group.nodes[0]
    if group.nest is not None or len(group.nodes) > 1:
        return None
    scale, causal = (node.attributes.get(name) for name in ("scale", "causal"))
    if node.operation is attention_delta:
        attributes = tuple(its for name, its in node.attributes.items() if name != "to")
        return attention_delta, node.heads, attributes
    if node.operation in (dot_product_attention, attention_statistics):
        floats = 3 if node.operation is dot_product_attention else 2
        mask = options_of(node.heads[floats:]).mask
        return dot_product_attention, node.heads[:2], mask, scale, causal
    return None
