"""Computes the annotations of a picture of a run: its step, its loss, and figures of every value.

    feedforward-001 · after step 1,000 · loss 6.25 on the batch of step 1,000
    values: mean ± standard deviation; deltas: ‖δ‖; single numbers as they are

The figures are those that `graphgrad inspect` shows, of one batch with the newest parameters. The
picture of a model has no annotations: its parameters get their first values when a run begins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphgrad.figures.array_figures import Figures
from graphgrad.figures.evaluation import Arrays
from graphgrad.figures.node_report import inspect_values
from graphgrad.graph import Graph

_BLUE, _RED = (120, 170, 235), (240, 140, 130)
LEGEND = "values: mean ± standard deviation; deltas: ‖δ‖; single numbers as they are"


@dataclass(frozen=True)
class Annotations:
    """The texts that are written into the picture of a run.

    `values` and `deltas` are short texts by the shown name of a node. `run` is the name of the
    run's folder, `step` the number of steps that its parameters were trained for, and `batch` the
    number of the batch that the figures are computed from.
    """

    run: str
    step: int
    batch: int
    loss: float | None
    values: Mapping[str, str] = field(default_factory=dict)
    deltas: Mapping[str, str] = field(default_factory=dict)
    fills: Mapping[str, str] = field(default_factory=dict)
    """Colours of boxes by the shown name of a node, where they mean something."""
    cards: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """The colours of the cells of the heat cards of values, by the shown name of a node."""
    delta_cards: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    """The lines above the picture, where it does not show a step of a run."""

    def caption(self) -> tuple[str, ...]:
        """The lines above the picture."""
        if self.lines:
            return self.lines
        line = f"{self.run} · after step {self.step:,}"
        if self.loss is not None:
            line += f" · loss {self.loss:.4g} on the batch of step {self.batch:,}"
        return line, LEGEND


def annotations_of(
    graph: Graph, feeds: Arrays, state: Arrays, run: str = "", step: int = 0, batch: int = 0
) -> Annotations:
    """Computes the annotations of a graph, with or without deltas, from a batch and a state.

    Raises the errors of `inspect_values` if the feeds or the state do not fit.
    """
    values, deltas, loss = {}, {}, None
    loss_name = graph.name_of(graph.outputs["loss"]) if "loss" in graph.outputs else None
    for report in inspect_values(graph, feeds, state):
        values[report.name] = value_text(report.value)
        if report.delta is not None:
            deltas[report.name] = delta_text(report.delta)
        if report.name == loss_name:
            loss = report.value.mean
    return Annotations(run, step, batch, loss, values, deltas)


def effects_of(effects: Mapping[str, float], lines: tuple[str, ...]) -> Annotations:
    """The annotations of a picture of effects: each as a number, with a colour from blue (most
    negative) by white (0) to red (most positive)."""
    largest = max((abs(value) for value in effects.values() if math.isfinite(value)), default=0.0)
    texts = {name: f"{value:+.2g}" if value else "0" for name, value in effects.items()}
    fills = {
        name: _between_blue_and_red(value / largest)
        for name, value in effects.items()
        if math.isfinite(value) and largest
    }
    return Annotations("", 0, 0, None, texts, fills=fills, lines=lines)


def _between_blue_and_red(share: float) -> str:
    """The colour of a share from -1 to 1; dark text can be read on all of them."""
    end = _RED if share > 0 else _BLUE
    mixed = (round(255 + (part - 255) * abs(share)) for part in end)
    return "#" + "".join(f"{part:02X}" for part in mixed)


def value_text(found: Figures) -> str:
    """`0.12 ± 0.3`; a single number as it is; the count of elements that are not finite."""
    if found.non_finite or found.mean is None or found.std is None:
        return f"{found.non_finite:,} not finite" if found.non_finite else ""
    if all(size == 1 for size in found.shape):
        return f"{found.mean:.3g}"
    mean = found.mean if abs(found.mean) > 1e-3 * found.std else 0.0  # no more than rounding
    return f"{mean:.3g} ± {found.std:.2g}"


def delta_text(found: Figures) -> str:
    """`‖δ‖ 0.034`."""
    if found.non_finite:
        return f"{found.non_finite:,} not finite"
    return f"‖δ‖ {found.norm:.3g}"
