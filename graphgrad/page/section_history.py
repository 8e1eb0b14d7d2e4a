"""Writes the section `history` of a page: recorded figures of values and deltas over the steps.

    steps       the recorded steps, thinned evenly if there are too many, first and last kept
    names       names of nodes and of deltas
    deltas      [name of a node, name of its delta], of these names
    statistics  the names of the figures
    values      float32 [name, figure, step], packed; NaN for a figure that was not recorded
    depth       names of nodes in the order of the forward graph, for the flow of the gradient
    following   [position, position] in `depth`: the second follows the first (`figures.depth`)
    parameters  names of parameters, for update ÷ weight

Values are those recorded, rounded to float32; thinning leaves out steps and does not average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from graphgrad.backprop.selection import parts_of
from graphgrad.figures.depth import following
from graphgrad.graph import Graph
from graphgrad.page.encoding import packed

BUDGET = 6_000_000  # bytes of text in the page
FEWEST_STEPS = 40  # steps are left out before names
MOST_STEPS = 400


class Recorded(Protocol):
    """The fields of a run's history that the section needs."""

    @property
    def steps(self) -> tuple[int, ...]: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def figures(self) -> tuple[str, ...]: ...
    @property
    def values(self) -> np.ndarray: ...
    @property
    def deltas(self) -> Mapping[str, str]: ...


def history_section(
    history: Recorded, graph: Graph | None = None, budget: int = BUDGET
) -> dict[str, Any] | None:
    """The section for a recorded history [step, name, figure]; None if nothing was recorded.

    `graph` defines the depth of the nodes and which are parameters; without it the names are in the
    order of recording.
    """
    if not history.steps or not history.names:
        return None
    each = 6 * len(history.figures)  # bytes of one name at one step, in base64
    room = budget // each
    most = max(min(FEWEST_STEPS, len(history.steps)), room // len(history.names))
    steps = thinned(len(history.steps), min(most, MOST_STEPS))
    names = list(range(len(history.names)))[: max(room // len(steps), 1)]
    values = np.asarray(history.values)[np.ix_(steps, names)]
    shown = [history.names[index] for index in names]
    return {
        "steps": [int(history.steps[index]) for index in steps],
        "steps_recorded": len(history.steps),
        "names": shown,
        "names_recorded": len(history.names),
        "statistics": list(history.figures),
        "values": packed(values.transpose(1, 2, 0)),
        **_roles(shown, history.deltas, graph),
    }


def thinned(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 … count - 1, evenly spread, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted(set(np.linspace(0, count - 1, most).round().astype(int).tolist()))


def _roles(
    names: Sequence[str], recorded: Mapping[str, str], graph: Graph | None
) -> dict[str, list[Any]]:
    """The names of deltas, of forward nodes with a delta (in order), and of parameters."""
    known = set(names)
    deltas = {recorded[name]: name for name in names if name in recorded}
    pairs = [list(pair) for pair in deltas.items()]
    if graph is None:
        recorded_order = [name for name in names if name in deltas]
        return {"deltas": pairs, "depth": recorded_order, "following": [], "parameters": []}
    parts = parts_of(graph)
    forward = [node for node in graph.nodes if parts[node] == "forward"]
    order = [node for node in forward if graph.name_of(node) in deltas]
    parameters = [graph.name_of(node) for node in graph.parameters.values()]
    return {
        "deltas": pairs,
        "depth": [graph.name_of(node) for node in order],
        "following": [list(pair) for pair in following(graph, [[node] for node in order])],
        "parameters": [name for name in parameters if name in known or name in deltas],
    }
