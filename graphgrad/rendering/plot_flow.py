"""Plots the flow of the gradient by depth: the root mean square of every delta, block by block.

A block is the part of the model that the first words of a name say (`encoder.0`); its median is a
short bar. A line leads from a block to those that follow it in depth (`figures.depth`): the graph
says that, so branches, neurons of a layer, two uses of one block and weights that several blocks
share are not joined. Without the graph nothing is joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad.errors import DataError
from graphgrad.figures.depth import Pairs, following, in_order, visits
from graphgrad.graph import Graph, Node
from graphgrad.rendering.plot_style import (
    MUTED,
    RED,
    labelled,
    logarithmic,
    new_figure,
    spread,
    titled,
)
from graphgrad.rendering.plots import last_finite, median
from graphgrad.reports.history import History
from graphgrad.text import printable

_BLOCK = re.compile(r"^(.*?\.\d+|[^.]+)(?:\.|$)")
_BEFORE = ("#dba7b8", "#c87b94")  # the colours of earlier steps


def plot_flow(history: History, run: str, graph: Graph | None = None) -> Any:
    """Plots the root mean square of δ by depth: a point per node, a bar per block and step.

    `graph` is the model's, forward or derived; it says which blocks follow one another.
    """
    flow = _flow_of(history, graph)
    count = len(flow.blocks)
    figure = new_figure(width=max(7.2, 0.62 * count), height=4.6)
    axes = figure.add_subplot()
    logarithmic(axes)
    last = flow.sizes[-1]
    known = last > 0
    axes.plot(
        flow.positions[known],
        last[known],
        linestyle="none",
        marker="o",
        markersize=2.4,
        color=RED,
        alpha=0.35,
        markeredgewidth=0,
    )
    floor = float(np.quantile(last[known], 0.5)) * 1e-5 if known.any() else 0.0
    below = int(np.sum(last[known] < floor))
    if below:  # 0 up to rounding, such as the deltas of the biases of keys
        axes.set_ylim(bottom=float(last[last >= floor].min()) / 2)
        axes.annotate(
            f"{below} nodes are below, 0 but for rounding",
            (1, 0),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            color=MUTED,
            fontsize=8,
        )
    _flow_lines(axes, history, flow)
    axes.set_xticks(
        range(count),
        [printable(block, 22) for block in flow.blocks],
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_xlim(-0.6, count - 0.4)
    note = "root mean square of δ; bars: medians of blocks; dots: nodes at the last step"
    if flow.pairs:
        note = note.replace("blocks", "blocks, joined in depth")
    titled(axes, f"Gradient flow of {run}", note)
    return figure


@dataclass(frozen=True)
class _Flow:
    """Root mean squares [steps, nodes] of deltas, and the horizontal position of each node."""

    blocks: tuple[str, ...]
    pairs: Pairs
    """Positions of blocks, of which the second follows the first."""
    sizes: np.ndarray
    block_of: np.ndarray
    positions: np.ndarray


def _flow_of(history: History, graph: Graph | None) -> _Flow:
    members: dict[str, list[str]] = {}
    for name in history.names:
        if name in history.deltas:
            members.setdefault(_block(history.node_of(name)), []).append(name)
    if len(members) > 3:  # a single node (the loss, its sum) is not a block
        members = {block: those for block, those in members.items() if len(those) > 1} or members
    if graph:
        members = _divided(history, graph, members)
    groups = [_nodes(graph, map(history.node_of, those)) for those in members.values()]
    pairs = following(graph, groups) if graph else ()
    order = in_order(len(groups), pairs)
    members = {block: members[block] for block in map(list(members).__getitem__, order)}
    chosen = [name for those in members.values() for name in those]
    sizes = np.array([_root_mean_square(history, name) for name in chosen]).T
    if not np.any(sizes > 0):
        raise DataError("no delta was recorded", fix="record with --inspect-every and no --inspect")
    block_of = np.repeat(np.arange(len(members)), [len(those) for those in members.values()])
    shifts = [
        np.linspace(-0.26, 0.26, len(those)) if len(those) > 1 else np.zeros(1)
        for those in members.values()
    ]
    place = {position: number for number, position in enumerate(order)}
    pairs = tuple((place[first], place[second]) for first, second in pairs)
    return _Flow(tuple(members), pairs, sizes, block_of, block_of + np.concatenate(shifts))


def _divided(
    history: History, graph: Graph, members: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """The blocks, of which those that other blocks lead back to are several: `decoder (2)`."""
    groups = [_nodes(graph, map(history.node_of, those)) for those in members.values()]
    entered = visits(graph, groups)
    found: dict[str, list[str]] = {}
    for block, those in members.items():
        for name in those:
            node = _node(graph, history.node_of(name))
            visit = 1 if node is None else entered.get(node, 1)
            found.setdefault(block if visit == 1 else f"{block} ({visit})", []).append(name)
    return found


def _nodes(graph: Graph | None, names: Iterable[str]) -> set[Node]:
    """The nodes of recorded names that are of one block only.

    An equal value that two branches declare is one node, which has a name in both: neither branch
    follows the other for it.
    """
    found = (_node(graph, name) for name in names) if graph else ()
    return {
        node
        for node in found
        if graph and node is not None and len({_block(name) for name in graph.names_of(node)}) == 1
    }


def _node(graph: Graph, name: str) -> Node | None:
    """The node of a recorded name, which may be that of a part of it, `scores[head=0]`."""
    return graph.names.get(name, graph.names.get(name.rpartition("[")[0]))


def _flow_lines(axes: Any, history: History, flow: _Flow) -> None:
    """Draws the median of each block at the first, a middle and the last step, with labels."""
    drawn = []
    for step in _picked(history.steps):
        row = flow.sizes[history.steps.index(step)]
        medians = np.array(
            [median(row[flow.block_of == block]) for block in range(len(flow.blocks))]
        )
        if np.isfinite(medians).any():
            drawn.append((step, medians))
    low, high = np.log10(axes.get_ylim())
    ends = [float(np.log10(medians[last_finite(medians)])) for _, medians in drawn]
    heights = spread(ends, 0.045 * (high - low))
    for number, ((step, medians), height) in enumerate(zip(drawn, heights, strict=True)):
        latest = number == len(drawn) - 1
        colour = RED if latest else _BEFORE[number % 2]
        wide = 2 if latest else 1.2
        bars = {"linestyle": "none", "marker": "_", "markersize": 14, "markeredgewidth": wide}
        axes.plot(range(len(medians)), medians, color=colour, **bars)
        if flow.pairs:
            ends_of_lines = np.array([(first, second, np.nan) for first, second in flow.pairs])
            levels = [(medians[first], medians[second], np.nan) for first, second in flow.pairs]
            axes.plot(ends_of_lines.ravel(), np.ravel(levels), color=colour, linewidth=wide)
        labelled(
            axes,
            last_finite(medians) + 0.3,
            10**height,
            f"step {step:,}",
            colour,
            fontweight="bold" if latest else "normal",
        )


def _root_mean_square(history: History, name: str) -> np.ndarray:
    """√(mean² + std²) over the steps: the norm divided by the root of the array's size."""
    found = np.hypot(history.of(name, "mean"), history.of(name, "std"))
    return np.where(np.isfinite(found), found, 0.0)


def _picked(steps: Sequence[int]) -> list[int]:
    """The first, a middle and the last of the steps."""
    return list(dict.fromkeys([steps[0], steps[len(steps) // 2], steps[-1]]))


def _block(name: str) -> str:
    """`encoder.0` of `encoder.0.attention.query.w`; the first part of other names."""
    match = _BLOCK.match(name)
    return match[1] if match else name
