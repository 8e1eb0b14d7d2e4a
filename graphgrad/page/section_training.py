"""Writes the section `training` of a page: the metrics of one run or several over the steps.

    runs     names of runs, no two alike
    figures  {"name": …, "series": [run], "spread": …}: first the loss, then the held-out figures
    series   null, or {"first": […], "last": […], "mean", "low", "high": packed, "lost": […]} of
             windows of consecutive records: their steps, the mean, smallest and largest number; of
             `lost` windows some numbers were not finite
    spread   null, or {"first": […], "last": […], "edges": […], "log": …, "counts": [run]}: how many
             numbers of a run were in each window of steps, between two edges [window][bin]

Numbers that are not finite are counted and are in no mean; a window without a finite one has NaN.
A window has one record while there are at most `MOST_WINDOWS` of them. The windows and the edges of
a spread are the same for all runs, so that runs can be compared. Names of axes of equal ratio are
`log`: where every number is positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphgrad.page.encoding import number, packed
from graphgrad.reports.over_steps import (
    Metrics,
    Series,
    distinct,
    figure_names,
    series_of,
    spread_of,
)

MOST_WINDOWS = 300


def training_section(runs: Sequence[tuple[str, Metrics]]) -> dict[str, Any] | None:
    """The section for runs by name, each with its records; None if nothing was recorded."""
    names = figure_names([metrics for _, metrics in runs])
    columns = {name: [series_of(metrics, name) for _, metrics in runs] for name in names}
    figures = [
        {
            "name": name,
            "series": [_windows(*one) if len(one[0]) else None for one in columns[name]],
            "spread": _spread(columns[name]),
        }
        for name in names
    ]
    if not figures:
        return None
    return {"runs": distinct([name for name, _ in runs]), "figures": figures}


def _windows(steps: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """The series in at most `MOST_WINDOWS` windows of consecutive records."""
    count = min(len(steps), MOST_WINDOWS)
    bounds = np.linspace(0, len(steps), count + 1).round().astype(int)
    starts, finite = bounds[:-1], np.isfinite(values)
    counted = np.add.reduceat(finite.astype(np.int64), starts)
    with np.errstate(all="ignore"):
        means = np.add.reduceat(np.where(finite, values, 0.0), starts) / counted
    lows = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    highs = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    empty = counted == 0
    return {
        "first": steps[starts].tolist(),
        "last": steps[bounds[1:] - 1].tolist(),
        "mean": packed(means),
        "low": packed(np.where(empty, np.nan, lows)),
        "high": packed(np.where(empty, np.nan, highs)),
        "lost": np.flatnonzero(counted < np.diff(bounds)).tolist(),
    }


def _spread(runs: Sequence[Series]) -> dict[str, Any] | None:
    """How the numbers of each run are spread, by window of steps; None for few or equal numbers."""
    found = spread_of(runs)
    if found is None:
        return None
    return {
        "first": found.first.tolist(),
        "last": found.last.tolist(),
        "edges": [number(edge) for edge in found.edges.tolist()],
        "log": found.log,
        "counts": found.counts.tolist(),
    }
