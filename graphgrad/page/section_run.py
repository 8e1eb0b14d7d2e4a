"""The section `run` of a page: figures of every value and every delta from one real batch.

The graph goes through the passes of training and is evaluated once, node by node (see
`figures.batch`); what is shown is therefore what a run computes.

    rows     one for each distinct value: figures, size, histogram of binades
    nodes    name -> {"value": row, "delta": row, "contributions": […], "unit": …, "update": …}
    outputs  the scalar outputs: the loss, the norm of the gradient, the learning rate

Of the nodes that only updates need there are the states and their next values.

- Each contribution δ_{u←t} comes with its norm, its share of all norms, its cosine with δ_u and
  `along` = ⟨δ_{u←t}, δ_u⟩ / ⟨δ_u, δ_u⟩, which sums to 1 over the tails: a branch that works against
  the others has a negative one. `pairs` are the cosines between contributions.
- A histogram counts elements by the power of two of their magnitude, which is exact, with negative
  and positive elements apart. Zeros and what is not finite are counted by their own figures.
- Whatever does not exist (the mean of nothing) is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphgrad.backprop.formula import contribution_formula
from graphgrad.figures.batch import SATURATED, BatchFigures, ValueFigures
from graphgrad.figures.evaluation import Arrays
from graphgrad.figures.non_finite import NonFinite
from graphgrad.figures.statistics import FIGURES
from graphgrad.graph import Graph, Node, constant
from graphgrad.page.encoding import number, ratio
from graphgrad.passes import PASSES, Pass, sizes_of, specialise

COLUMNS = (*FIGURES, "size", "lowest", "positive", "negative")
"""What a row holds; `lowest` is the exponent of the first bin, the last two are its counts."""
LISTED_UNITS = 24
PAIRED = 8  # contributions of which all cosines are given
ANCESTORS = 30  # of the first node that is not finite

Row = list[Any]


def run_section(
    graph: Graph,
    feeds: Arrays,
    state: Arrays,
    label: str = "",
    step: int = 0,
    batch: int = 0,
    passes: Sequence[Pass] = PASSES,
) -> dict[str, Any]:
    """The section for a derived graph (with or without updates) and one batch of inputs.

    `label` names the run, `step` is what its state has behind it and `batch` which batch it is.
    Raises what `inspect_values` raises for feeds or states that do not fit.
    """
    figures = BatchFigures(specialise(graph, sizes_of(graph, feeds)), feeds, state, passes)
    rows, place = _rows(figures)
    nodes = {
        figures.graph.name_of(node): _entry(figures, node, rows, place) for node in figures.shown
    }
    found = figures.non_finite
    return {
        "run": label,
        "step": step,
        "batch": batch,
        "sizes": sizes_of(graph, feeds),
        "outputs": _scalars(figures, rows, place),
        "columns": list(COLUMNS),
        "rows": rows,
        "nodes": nodes,
        "saturated": SATURATED,
        "non_finite": None if found is None else _explained(figures.graph, found),
    }


def row_of(found: ValueFigures) -> Row:
    """The figures of a value in the order of `COLUMNS`."""
    figures = [number(getattr(found.statistics, name)) for name in FIGURES[:-1]]
    return [*figures, found.statistics.non_finite, found.size, *found.histogram]


# ---------------------------------------------------------------- in plain values


def _rows(figures: BatchFigures) -> tuple[list[Row], dict[Node, int]]:
    """Each row once, and where the row of each node stands."""
    rows: list[Row] = []
    known: dict[int, int] = {}
    place: dict[Node, int] = {}
    for node, found in figures.values.items():
        if id(found) not in known:
            known[id(found)] = len(rows)
            rows.append(row_of(found))
        place[node] = known[id(found)]
    return rows, place


def _scalars(
    figures: BatchFigures, rows: Sequence[Row], place: Mapping[Node, int]
) -> dict[str, float | None]:
    """The outputs that are one number: the loss, and what an optimiser gives beside it."""
    mean = FIGURES.index("mean")
    return {
        name: rows[place[node]][mean]
        for name, node in figures.graph.outputs.items()
        if node.shape == () and node in place
    }


def _entry(
    figures: BatchFigures, node: Node, rows: Sequence[Row], place: Mapping[Node, int]
) -> dict[str, Any]:
    entry: dict[str, Any] = {"value": place[node]}
    delta = figures.graph.delta_or_none(node)
    if delta is not None:
        entry["delta"] = place[delta]
        entry |= _contributions(figures, node, rows, place)
    if node in figures.units:
        found = figures.units[node]
        entry["unit"] = {
            "kind": found.kind,
            "units": found.units,
            "stuck": len(found.stuck),
            "first": list(found.stuck[:LISTED_UNITS]),
            "share": number(found.share),
        }
    if node in figures.updates:
        change, weight = figures.updates[node]
        entry["update"] = {"norm": number(change), "ratio": number(ratio(change, weight))}
    return entry


def _contributions(
    figures: BatchFigures, node: Node, rows: Sequence[Row], place: Mapping[Node, int]
) -> dict[str, Any]:
    """What each tail sends back, and the cosines between them where they are not too many."""
    graph, sent = figures.graph, figures.graph.sent_back(node)
    norms = [rows[place[item.value]][FIGURES.index("norm")] or 0.0 for item in sent]
    products = figures.products.get(node)
    listed = [
        {
            "tail": graph.name_of(item.tail),
            "formula": contribution_formula(graph, item.tail, item.place),
            "row": place[item.value],
            "share": number(ratio(norms[k], sum(norms))),
            "cosine": _cosine(products, k, -1),
            "along": 1.0 if products is None else number(ratio(products[k, -1], products[-1, -1])),
        }
        for k, item in enumerate(sent)
    ]
    found: dict[str, Any] = {"contributions": listed}
    if products is not None and 1 < len(sent) <= PAIRED:
        found["pairs"] = [[_cosine(products, a, b) for b in range(a)] for a in range(len(sent))]
    return found


def _cosine(products: np.ndarray | None, a: int, b: int) -> float | None:
    """The cosine of the angle between two of the vectors; a sole contribution is δ itself."""
    if products is None:
        return 1.0
    cosine = ratio(products[a, b], float(np.sqrt(products[a, a]) * np.sqrt(products[b, b])))
    return None if cosine is None else number(min(1.0, max(-1.0, cosine)))


def _explained(graph: Graph, found: NonFinite) -> dict[str, Any]:
    """Where it stopped being finite, and what that was computed from, nearest first."""
    names = [found.name] if found.name in graph.names else list(found.heads)
    steps = {graph.names[name]: 0 for name in names if name in graph.names}
    queue = list(steps)
    for node in queue:
        for head in node.heads:
            if head not in steps and len(steps) < ANCESTORS and head.operation is not constant:
                steps[head] = steps[node] + 1
                queue.append(head)
    ancestry = [
        {
            "name": graph.name_of(node),
            "operation": node.operation.name,
            "distance": distance,
            "heads": [graph.name_of(head) for head in node.heads],
        }
        for node, distance in steps.items()
    ]
    return {**found.to_dict(), "text": str(found), "ancestry": ancestry}
