"""Groups the nodes of a graph for the plan: regions that one kernel computes, the rest alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphgrad.graph import Graph, Node, TensorType
from graphgrad.kernels.loops import LoopNest, block_count, print_loops
from graphgrad.kernels.region import Region, find_regions, is_generator, outer_values
from graphgrad.ops.movement import BROADCAST_TO
from graphgrad.plan import Group, Layouts, alone


def fused(
    graph: Graph, order: Sequence[Node], phases: Mapping[Node, int], layouts: Layouts
) -> list[Group]:
    """The groups in the order in which they run: each after the last of its nodes."""
    outer = outer_values(graph, order)
    regions = find_regions(order, phases, layouts, outer)
    regions_of: dict[Node, set[Region]] = {}
    for region in regions:
        for node in region.roles:
            regions_of.setdefault(node, set()).add(region)
    position = {node: number for number, node in enumerate(order)}
    kept = {*graph.outputs.values(), *graph.updates.values()}
    groups: dict[Group, int] = {}
    for region in regions:
        groups[_group(graph, region, regions_of, kept, outer)] = max(position[n] for n in region.roles)
    made_again: set[Node] = set()
    for node in reversed(order):
        if node in layouts.views or (node in regions_of and node not in outer):
            continue
        if (is_generator(node) or node in outer) and node not in kept and all(
            tail in regions_of or tail in made_again for tail in graph.tails(node)
        ):  # fmt: skip
            made_again.add(node)
        else:
            groups[alone(node)] = position[node]
    return sorted(groups, key=groups.__getitem__)


def _group(
    graph: Graph, region: Region, regions_of: Mapping[Node, set[Region]], kept: set[Node],
    outer: set[Node],
) -> Group:  # fmt: skip
    """The region as a group: its outputs are what anything outside of it reads."""
    outputs = [
        node for node in region.roles
        if node in kept or any(regions_of.get(tail) != {region} for tail in graph.tails(node))
    ]  # fmt: skip
    outputs = [node for node in outputs if node not in outer]
    nest = print_loops(region, outputs)
    inputs: list[Node] = []
    for node in region.roles:
        for head in node.heads:
            if head in region.roles:
                continue
            if is_generator(head):
                inputs += head.heads
            elif head.operation is BROADCAST_TO:
                inputs.append(_unrepeated(head))
            else:
                inputs.append(head)
    blocks = block_count(nest.rows)
    scratch = tuple(TensorType((blocks, nest.columns) if node.shape else (blocks,), node.dtype)
                    for node in nest.collected)  # fmt: skip
    return Group(region.nodes, tuple(dict.fromkeys(inputs)), (*nest.outputs, *nest.collected),
                 scratch, _shares(nest), region)  # fmt: skip


def _unrepeated(node: Node) -> Node:
    while node.operation is BROADCAST_TO:
        node = node.heads[0]
    return node


def _shares(nest: LoopNest) -> dict[Node, tuple[Node, ...]]:
    """An output may lie in the memory of an argument that is read the same way and, from the stage
    in which the output is written, no more."""
    found = {}
    for node in nest.outputs:
        found[node] = tuple(
            argument.node for argument in nest.arguments
            if argument.form == "full" and argument.node.type == node.type
            and nest.last_read[argument.node] <= nest.first_write[node]
        )  # fmt: skip
    return found
