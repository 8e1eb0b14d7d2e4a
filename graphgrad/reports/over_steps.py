"""Reads figures over the steps from the metrics of runs, and says how their numbers are spread.

The page (`page.section_training`) and the plots (`rendering.plot_steps`) draw what is found here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad.training.best import HELD_OUT

SPREAD_WINDOWS, SPREAD_BINS = 60, 28
FEWEST = 2 * SPREAD_WINDOWS
"""How many records of a figure some run has, if a spread of it is worth a picture."""
_FIRST = ("loss", HELD_OUT, "learning_rate", "loss_scale", "gradient_norm")
_EQUAL_RATIOS = 4  # of the largest to the smallest number, from which bins have equal ratios

Metrics = Sequence[Mapping[str, Any]]
Series = tuple[np.ndarray, np.ndarray]
"""Steps, ascending, and the number of each as float64."""


@dataclass(frozen=True, eq=False)
class Spread:
    """How many numbers of each run there are in each window of steps, between two edges.

    Windows and edges are the same for all runs, so that runs can be compared. Edges of equal ratio
    are `log`: where every number is positive. `counts` is int64 [run, window, bin].
    """

    first: np.ndarray
    last: np.ndarray
    edges: np.ndarray
    log: bool
    counts: np.ndarray


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


def figure_names(runs: Sequence[Metrics]) -> list[str]:
    """The figures that some run has numbers of: the loss first, then those on held-out data."""
    names = {name for metrics in runs for record in metrics for name in record}
    found = sorted(names, key=_place)
    return [name for name in found if any(len(series_of(metrics, name)[0]) for metrics in runs)]


def series_of(metrics: Metrics, name: str) -> Series:
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


def spread_of(runs: Sequence[Series]) -> Spread | None:
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
    counts = np.array([_counts(steps, values, bounds, edges) for steps, values in runs])
    return Spread(bounds[:-1], bounds[1:] - 1, edges, log, counts)


def _place(name: str) -> tuple[int, str]:
    """Where a figure is in the order of the page."""
    kind = HELD_OUT if name.startswith(HELD_OUT) else name
    return (_FIRST.index(kind) if kind in _FIRST else len(_FIRST), name)


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
) -> np.ndarray:
    """How many finite numbers are in each window of steps, in each bin."""
    finite = np.isfinite(values)
    counts: np.ndarray = np.histogram2d(steps[finite], values[finite], (bounds, edges))[0]
    return counts.astype(np.int64)
