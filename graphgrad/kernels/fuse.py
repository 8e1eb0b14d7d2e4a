"""Groups the nodes of a graph for the plan: regions that one kernel computes, the rest alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from graphgrad.graph import Graph, Node, TensorType
from graphgrad.kernels.alike import LoopPrinter
from graphgrad.kernels.loop_nest import LoopNest, block_count
from graphgrad.kernels.reading import FULL, is_generator, unrepeated
from graphgrad.kernels.region import Region, find_regions, outer_values
from graphgrad.plan import Group, Layouts, alone

SMALLEST_KERNEL = 4096
"""Elements: what a few operations of NumPy do in some microseconds is not worth compiling."""


def fused(
    graph: Graph, order: Sequence[Node], phases: Mapping[Node, int], layouts: Layouts,
    without: Collection[str] = (), smallest: int | None = None,
) -> list[Group]:  # fmt: skip
    """The groups in the order in which they run: each after the last of its nodes.

    `without` may leave out "outer": then values made of rows and columns are kept in memory.
    `smallest` is the number of elements from which a kernel is made (default: `SMALLEST_KERNEL`).
    """
    smallest = SMALLEST_KERNEL if smallest is None else smallest
    outer = set() if "outer" in without else outer_values(graph, order)
    regions = _worthwhile(find_regions(order, phases, layouts, outer), smallest)
    regions_of: dict[Node, set[Region]] = {}
    for region in regions:
        for node in region.roles:
            regions_of.setdefault(node, set()).add(region)
    position = {node: number for number, node in enumerate(order)}
    kept = {*graph.outputs.values(), *graph.updates.values()}
    alone_too: dict[Node, tuple[int, int, int]] = {}  # in no region, or read by what is in none
    for node in reversed(order):
        if node in layouts.views or (node in regions_of and node not in outer):
            continue
        if node in kept or not (is_generator(node) or node in outer):
            alone_too[node] = (position[node], 1, 0)
            continue
        readers = [
            alone_too.get(tail, (position[tail], 0, 0))
            for tail in graph.tails(node)
            if tail in alone_too
            or (tail in position and tail not in regions_of and tail not in outer)
        ]
        if readers:  # just before them: by then every region that it reads from is complete
            alone_too[node] = (min(readers)[0], 0, position[node])
    groups = {alone(node): place for node, place in alone_too.items()}
    printer = LoopPrinter()
    for region in regions:
        wanted = [
            node for node in region.roles
            if node not in outer and (node in kept or any(
                tail in alone_too or regions_of.get(tail) != {region} for tail in graph.tails(node)
            ))
        ]  # fmt: skip
        last = max(position[node] for node in region.roles)
        groups[_group(region, wanted, printer)] = (last, 1, 0)
    return sorted(groups, key=groups.__getitem__)


def _worthwhile(regions: Sequence[Region], smallest: int) -> list[Region]:
    """Without those that are small wherever they occur: compiling would take longer."""
    largest: Counter[tuple[object, ...]] = Counter()
    kinds = {
        region: tuple((node.operation, node.dtype, role) for node, role in region.roles.items())
        for region in regions
    }
    for region, kind in kinds.items():
        largest[kind] = max(largest[kind], math.prod(region.space))
    return [region for region, kind in kinds.items() if largest[kind] >= smallest]


def _group(region: Region, outputs: Sequence[Node], printer: LoopPrinter) -> Group:
    """The region as a group; `outputs` are what anything outside of it reads."""
    nest = printer.nest(region, outputs)
    inputs: list[Node] = []
    for node in region.roles:
        for head in node.heads:
            if head in region.roles:
                continue
            source = unrepeated(head)
            inputs += source.heads if is_generator(source) else [source]
    blocks = block_count(nest.rows)
    scratch = tuple(TensorType((blocks, nest.columns) if node.shape else (blocks,), node.dtype)
                    for node in nest.collected)  # fmt: skip
    return Group(region.nodes, tuple(dict.fromkeys(inputs)), (*nest.outputs, *nest.collected),
                 scratch, _shares(nest), nest)  # fmt: skip


def _shares(nest: LoopNest) -> dict[Node, tuple[Node, ...]]:
    """An output may lie in the memory of an argument that is read the same way and, from the stage
    in which the output is written, no more.

    What is computed once a row is written by the number of the row, and never shares: where a row
    has one element its type is that of the elements, but they are read row by row.
    """
    found = {}
    for node in nest.outputs:
        if nest.region.roles[node] != FULL:
            continue
        found[node] = tuple(
            argument.node for argument in nest.arguments
            if argument.form == "full" and argument.node.type == node.type
            and nest.last_read[argument.node] <= nest.first_write[node]
        )  # fmt: skip
    return found
