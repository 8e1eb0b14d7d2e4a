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

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphgrad.page.encoding import number, packed
from graphgrad.training.best import HELD_OUT

MOST_WINDOWS = 300
SPREAD_WINDOWS, SPREAD_BINS = 60, 28
FEWEST = 2 * SPREAD_WINDOWS
"""How many records of a figure some run has, if a spread of it is worth a picture."""
_FIRST = ("loss", HELD_OUT, "learning_rate", "loss_scale", "gradient_norm")
_EQUAL_RATIOS = 4  # of the largest to the smallest number, from which bins have equal ratios

Metrics = Sequence[Mapping[str, Any]]
Series = tuple[np.ndarray, np.ndarray]
"""Steps, ascending, and the number of each as float64."""


def training_section(runs: Sequence[tuple[str, Metrics]]) -> dict[str, Any] | None:
    """The section for runs by name, each with its records; None if nothing was recorded."""
    names = sorted({name for _, metrics in runs for record in metrics for name in record})
    columns = {name: [_series(metrics, name) for _, metrics in runs] for name in names}
    figures = [
        {
            "name": name,
            "series": [_windows(*one) if len(one[0]) else None for one in columns[name]],
            "spread": _spread(columns[name]),
        }
        for name in sorted(names, key=_place)
        if any(len(steps) for steps, _ in columns[name])
    ]
    if not figures:
        return None
    return {"runs": distinct([name for name, _ in runs]), "figures": figures}


def distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number behind each that is not the first of its name."""
    found: list[str] = []
    for name in names:
        made, count = name, 1
        while made in found:
            count += 1
            made = f"{name} ({count})"
        found.append(made)
    return found


def _place(name: str) -> tuple[int, str]:
    """Where a figure is in the order of the page."""
    kind = HELD_OUT if name.startswith(HELD_OUT) else name
    return (_FIRST.index(kind) if kind in _FIRST else len(_FIRST), name)


def _series(metrics: Metrics, name: str) -> Series:
    """The records that have a number of this name; nothing of the step itself."""
    known = [
        (record["step"], float(record[name]))
        for record in metrics
        if name != "step"
        and isinstance(record.get(name), int | float)
        and not isinstance(record[name], bool)
    ]
    steps = np.array([step for step, _ in known], np.int64)
    order = np.argsort(steps, kind="stable")
    return steps[order], np.array([value for _, value in known], np.float64)[order]


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
    if max(len(steps) for steps, _ in runs) < FEWEST:
        return None
    whole = np.concatenate([values[np.isfinite(values)] for _, values in runs])
    if not len(whole) or whole.min() == whole.max():
        return None
    first = min(int(steps[0]) for steps, _ in runs if len(steps))
    last = max(int(steps[-1]) for steps, _ in runs if len(steps))
    count = min(SPREAD_WINDOWS, last - first + 1)
    bounds = np.unique(np.linspace(first, last + 1, count + 1).round().astype(np.int64))
    edges, log = _edges(whole)
    return {
        "first": bounds[:-1].tolist(),
        "last": (bounds[1:] - 1).tolist(),
        "edges": [number(edge) for edge in edges.tolist()],
        "log": log,
        "counts": [_counts(steps, values, bounds, edges) for steps, values in runs],
    }


def _edges(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """The edges of bins from the smallest to the largest number, and whether ratios are equal."""
    low, high = float(values.min()), float(values.max())
    log = low > 0 and high / low >= _EQUAL_RATIOS
    if not log:
        return np.linspace(low, high, SPREAD_BINS + 1), False
    edges = np.exp(np.linspace(math.log(low), math.log(high), SPREAD_BINS + 1))
    edges[0], edges[-1] = low, high  # exactly: a rounded edge would leave a number out
    return edges, True


def _counts(
    steps: np.ndarray, values: np.ndarray, bounds: np.ndarray, edges: np.ndarray
) -> list[list[int]]:
    """How many finite numbers are in each window of steps, in each bin."""
    finite = np.isfinite(values)
    counts, _, _ = np.histogram2d(steps[finite], values[finite], (bounds, edges))
    return [[int(count) for count in row] for row in counts]
