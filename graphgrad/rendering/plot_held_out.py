"""Plots the figures on held-out data of a run: one panel for each, with the best step marked.

Panels have one step axis; a panel is labelled with its last value. Values that are not finite are
left out, and so is a figure that never was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from graphgrad.errors import DataError
from graphgrad.rendering.plot_style import BLUE, INK, MUTED, ORANGE, labelled, new_figure, titled
from graphgrad.text import printable
from graphgrad.training.best import HELD_OUT, lower_is_better
from graphgrad.training.doubts import UNSHOWN

_PANEL, _ABOVE = 1.25, 0.9  # inches
Points = list[tuple[int, float]]


def plot_held_out(metrics: Sequence[Mapping[str, Any]], run: str) -> Any:
    """A panel for each held-out figure in the metrics. Raises DataError where there is none."""
    found = held_out_figures(metrics)
    if not found:
        raise DataError(
            "the run has not looked at held-out data yet",
            fix="train to a step that evaluate_every divides",
        )
    figure = new_figure(height=_ABOVE + _PANEL * len(found))
    panels = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, points) in zip(panels, found.items(), strict=True):
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, color=BLUE, marker="o", markersize=3)
        choose = min if lower_is_better(name) else max
        best = choose(values)
        axes.plot(steps[values.index(best)], best, "o", color=ORANGE, markersize=6)
        labelled(axes, steps[-1], values[-1], f"{values[-1]:.4g}", INK, fontweight="bold")
        axes.text(0.01, 1.02, printable(name), transform=axes.transAxes, color=MUTED)
    panels[-1].set_xlabel("step", loc="right")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    titled(panels[0], f"Held-out data of {run}", "orange: the best of each figure")
    return figure


def held_out_figures(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Points]:
    """The finite values of each held-out figure by step, in the order of the metrics."""
    found: dict[str, Points] = {}
    for record in metrics:
        for key, value in record.items():
            name = key.removeprefix(HELD_OUT)
            if name == key or name in UNSHOWN or not isinstance(value, int | float):
                continue
            if math.isfinite(value):
                found.setdefault(name, []).append((int(record["step"]), float(value)))
    return found
