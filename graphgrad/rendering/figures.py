"""What a picture of a run shows besides the graph: its step, its loss, and figures of every value.

    feedforward-001 · after step 1,000 · loss 6.25 on the batch of step 1,000
    values: mean ± standard deviation; deltas: ‖δ‖; single numbers as they are

The figures are those that `graphgrad inspect` shows, of one batch with the newest parameters. A
picture of a model has none: its parameters are only drawn when a run begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphgrad.figures.evaluation import Arrays
from graphgrad.figures.statistics import Statistics, inspect_values
from graphgrad.graph import Graph

LEGEND = "values: mean ± standard deviation; deltas: ‖δ‖; single numbers as they are"


@dataclass(frozen=True)
class Figures:
    """`values` and `deltas` are short texts by the shown name of a node; `run` is a folder's name,
    `step` how many steps its parameters have behind them, `batch` which batch was looked at."""

    run: str
    step: int
    batch: int
    loss: float | None
    values: Mapping[str, str] = field(default_factory=dict)
    deltas: Mapping[str, str] = field(default_factory=dict)

    def caption(self) -> tuple[str, ...]:
        """The lines that stand above a picture."""
        line = f"{self.run} · after step {self.step:,}"
        if self.loss is not None:
            line += f" · loss {self.loss:.4g} on the batch of step {self.batch:,}"
        return line, LEGEND


def figures_of(
    graph: Graph, feeds: Arrays, state: Arrays, run: str = "", step: int = 0, batch: int = 0
) -> Figures:
    """The figures of a graph, with deltas or without, at a batch and the state of a run.

    Raises what `inspect_values` raises for feeds or a state that do not fit.
    """
    values, deltas, loss = {}, {}, None
    loss_name = graph.name_of(graph.outputs["loss"]) if "loss" in graph.outputs else None
    for report in inspect_values(graph, feeds, state):
        values[report.name] = value_text(report.value)
        if report.delta is not None:
            deltas[report.name] = delta_text(report.delta)
        if report.name == loss_name:
            loss = report.value.mean
    return Figures(run, step, batch, loss, values, deltas)


def value_text(found: Statistics) -> str:
    """`0.12 ± 0.3`; a single number stands alone, and what is not finite is counted."""
    if found.non_finite or found.mean is None or found.std is None:
        return f"{found.non_finite:,} not finite" if found.non_finite else ""
    if all(size == 1 for size in found.shape):
        return f"{found.mean:.3g}"
    mean = found.mean if abs(found.mean) > 1e-3 * found.std else 0.0  # no more than rounding
    return f"{mean:.3g} ± {found.std:.2g}"


def delta_text(found: Statistics) -> str:
    """`‖δ‖ 0.034`."""
    if found.non_finite:
        return f"{found.non_finite:,} not finite"
    return f"‖δ‖ {found.norm:.3g}"
