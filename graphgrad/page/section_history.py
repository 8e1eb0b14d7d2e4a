"""The section `history` of a page: recorded statistics of values and deltas over training steps.

    steps       the recorded steps, thinned evenly where there are too many, first and last kept
    names       names of nodes and of deltas
    deltas      [name of a node, name of its delta], of the names that are here
    statistics  their names
    values      float32 [name, statistic, step], packed; NaN where nothing was recorded
    depth       names of nodes in the order of the forward graph, for the flow of the gradient
    parameters  names of parameters, for update ÷ weight

What is shown is what was recorded, to float32; thinning leaves steps out and averages nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from graphgrad.backprop.selection import parts_of
from graphgrad.graph import Graph
from graphgrad.page.encoding import packed

BUDGET = 6_000_000  # bytes of text in the page
FEWEST_STEPS = 40  # steps are left out before names
MOST_STEPS = 400


class Recorded(Protocol):
    """What is read of a run's history."""

    @property
    def steps(self) -> tuple[int, ...]: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def statistics(self) -> tuple[str, ...]: ...
    @property
    def values(self) -> np.ndarray: ...
    @property
    def deltas(self) -> Mapping[str, str]: ...


def history_section(
    history: Recorded, graph: Graph | None = None, budget: int = BUDGET
) -> dict[str, Any] | None:
    """The section for a recorded history [step, name, statistic]; None where nothing was recorded.

    `graph` gives the depth of the nodes and says which are parameters; without it the names stand
    in the order of recording.
    """
    if not history.steps or not history.names:
        return None
    each = 6 * len(history.statistics)  # bytes of one name at one step, in base64
    room = budget // each
    most = max(min(FEWEST_STEPS, len(history.steps)), room // len(history.names))
    steps = thinned(len(history.steps), min(most, MOST_STEPS))
    names = list(range(len(history.names)))[: max(room // len(steps), 1)]
    values = np.asarray(history.values)[np.ix_(steps, names)]
    shown = [history.names[place] for place in names]
    return {
        "steps": [int(history.steps[place]) for place in steps],
        "steps_recorded": len(history.steps),
        "names": shown,
        "names_recorded": len(history.names),
        "statistics": list(history.statistics),
        "values": packed(values.transpose(1, 2, 0)),
        **_roles(shown, history.deltas, graph),
    }


def thinned(count: int, most: int) -> list[int]:
    """At most `most` of the places 0 … count - 1, evenly spread, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted(set(np.linspace(0, count - 1, most).round().astype(int).tolist()))


def _roles(
    names: Sequence[str], recorded: Mapping[str, str], graph: Graph | None
) -> dict[str, list[Any]]:
    """Which names are those of deltas, which are forward nodes with a delta, in order, and which
    are parameters."""
    known = set(names)
    deltas = {recorded[name]: name for name in names if name in recorded}
    pairs = [list(pair) for pair in deltas.items()]
    if graph is None:
        order = [name for name in names if name in deltas]
        return {"deltas": pairs, "depth": order, "parameters": []}
    parts = parts_of(graph)
    order = [graph.name_of(node) for node in graph.nodes if parts[node] == "forward"]
    parameters = [graph.name_of(node) for node in graph.parameters.values()]
    return {
        "deltas": pairs,
        "depth": [name for name in order if name in deltas],
        "parameters": [name for name in parameters if name in known or name in deltas],
    }
