"""Divides the nodes of a graph into groups: regions, each computed by one kernel, and single
nodes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from graphgrad.fusion.builder import build_nest
from graphgrad.fusion.group import Group, single_operation
from graphgrad.fusion.joint import processor_computes, with_joint_groups
from graphgrad.fusion.nest import LoopNest
from graphgrad.fusion.reading import broadcast_source, is_generator
from graphgrad.fusion.recomputed import recomputed_values
from graphgrad.fusion.region import Region, find_regions, rematerialised_values
from graphgrad.graph import Graph, Node, TensorType
from graphgrad.options import DEFAULTS, Options
from graphgrad.schedule import Schedule

SMALLEST_KERNEL = 4096
"""Elements: compiling smaller kernels takes longer than NumPy's few microseconds are worth."""


def fuse(schedule: Schedule, options: Options = DEFAULTS) -> list[Group]:
    """The groups, ordered as they run: by the position of their last node.

    Without `options.rematerialise`, values made of rows and columns are stored in memory instead of
    computed again by every kernel that reads them. `smallest_kernel` is the smallest number of
    elements of a kernel (default: `SMALLEST_KERNEL`).
    """
    graph, order, layouts = schedule.graph, schedule.order, schedule.layouts
    smallest = SMALLEST_KERNEL if options.smallest_kernel is None else options.smallest_kernel
    rematerialised = rematerialised_values(graph, order) if options.rematerialise else set()
    found = find_regions(schedule, rematerialised)
    if options.rematerialise and options.backend == "cupy":
        more = recomputed_values(graph, found, rematerialised)
        rematerialised |= more
        found = find_regions(schedule, rematerialised) if more else found
    regions = _worthwhile(found, smallest)
    regions_of: dict[Node, set[Region]] = {}
    for region in regions:
        for node in region.roles:
            regions_of.setdefault(node, set()).add(region)
    position = {node: number for number, node in enumerate(order)}
    kept = {*graph.outputs.values(), *graph.updates.values()}
    alone: dict[Node, tuple[int, int, int]] = {}  # in no region, or read outside of regions
    for node in reversed(order):
        if node in layouts.views or (node in regions_of and node not in rematerialised):
            continue
        if node in kept or not (is_generator(node) or node in rematerialised):
            alone[node] = (position[node], 1, 0)
            continue
        readers = [
            alone.get(tail, (position[tail], 0, 0))
            for tail in graph.tails(node)
            if tail in alone
            or (tail in position and tail not in regions_of and tail not in rematerialised)
        ]
        if readers:  # directly before them: every region that it reads from is complete by then
            alone[node] = (min(readers)[0], 0, position[node])
    groups = {single_operation(node, options): order_key for node, order_key in alone.items()}
    for region in regions:
        wanted = [
            node
            for node in region.roles
            if node not in rematerialised
            and (
                node in kept
                or any(
                    tail in alone or regions_of.get(tail) != {region} for tail in graph.tails(node)
                )
            )
        ]
        last = max(position[node] for node in region.roles)
        groups[_group(region, wanted, graph)] = (last, 1, 0)
    ordered = sorted(groups, key=groups.__getitem__)
    if options.backend == "cupy":
        return with_joint_groups(ordered, lambda nodes: True)
    return with_joint_groups(ordered, lambda nodes: processor_computes(nodes, layouts.arrays))


def _worthwhile(regions: Sequence[Region], smallest: int) -> list[Region]:
    """The regions without those that are small wherever they occur: compiling takes longer."""
    largest: Counter[tuple[object, ...]] = Counter()
    kinds = {
        region: tuple((node.operation, node.dtype, role) for node, role in region.roles.items())
        for region in regions
    }
    for region, kind in kinds.items():
        largest[kind] = max(largest[kind], math.prod(region.space))
    return [region for region, kind in kinds.items() if largest[kind] >= smallest]


def _group(region: Region, outputs: Sequence[Node], graph: Graph) -> Group:
    """The region as a group; `outputs` are its nodes that are read outside."""
    nest = build_nest(region, outputs, graph)
    inputs: list[Node] = []
    for node in region.roles:
        for head in node.heads:
            if head in region.roles:
                continue
            source = broadcast_source(head)
            inputs += source.heads if is_generator(source) else [source]
    loops = nest.loops
    reduced = [nest.nodes[number] for number in loops.partial_sums]
    scratch = tuple(
        [
            TensorType((loops.blocks, loops.columns) if node.shape else (loops.blocks,), node.dtype)
            for node in reduced
        ]
    )
    return Group(
        region.nodes,
        tuple(dict.fromkeys(inputs)),
        nest.outputs,
        scratch,
        _may_overwrite(nest),
        nest,
    )


def _may_overwrite(nest: LoopNest) -> dict[Node, tuple[Node, ...]]:
    """The arguments that each output may overwrite."""
    found: dict[Node, tuple[Node, ...]] = {nest.nodes[number]: () for number in nest.loops.kept}
    for output, argument in nest.loops.may_overwrite():
        found[nest.nodes[output]] += (nest.nodes[argument],)
    return found
