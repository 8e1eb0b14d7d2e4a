"""Plots several figures of one run or several over the training steps: a panel for each figure.

    metrics      what every run writes: loss, held-out figures, schedule, norm of the gradient …
    spread       how the numbers of a metric are spread, in windows of steps: a column each
    recorded     the recorded figures of values and deltas; of heads, where heads were recorded

A run has one colour in all panels. Where heads are colours, a run is a pattern of the line. Points
that are not finite are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad.errors import ConfigurationError, DataError
from graphgrad.rendering.plot_style import (
    COLOURS,
    INK,
    MUTED,
    labelled,
    logarithmic,
    new_figure,
    spread,
    titled,
)
from graphgrad.reports.history import History
from graphgrad.reports.over_steps import (
    FEWEST,
    Metrics,
    Series,
    distinct,
    figure_names,
    series_of,
    spread_of,
)
from graphgrad.text import printable, suggestion
from graphgrad.training.best import HELD_OUT

MOST_PANELS = 24
_PANEL, _LABEL, _ABOVE = 1.45, 0.21, 0.95  # inches
_PART = re.compile(r"(.*)\[([^\[\]]+)=(\d+)\]", re.DOTALL)
_DASHES: tuple[Any, ...] = ("-", (0, (6, 3)), (0, (2, 2)), (0, (8, 2, 2, 2)))
_WIDE_RATIO = 1000  # of large to small numbers, from which an axis is logarithmic


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a panel: its numbers over the steps, its label, colour and pattern."""

    steps: np.ndarray
    values: np.ndarray
    label: str
    colour: str
    dash: Any = "-"
    dots: bool = False


Panels = dict[str, list[Line]]


def plot_metrics(runs: Sequence[tuple[str, Metrics]], figures: Sequence[str] = ()) -> Any:
    """A panel for each figure of the metrics, a line for each run; all figures by default.

    Raises ConfigurationError for a figure that no run has, DataError where there is none at all.
    """
    names = distinct([name for name, _ in runs])
    chosen = _chosen([metrics for _, metrics in runs], figures)
    panels = {
        figure: [
            Line(*_finite(series_of(metrics, figure)), name, _colour(run), dots=_is_rare(figure))
            for run, (name, (_, metrics)) in enumerate(zip(names, runs, strict=True))
        ]
        for figure in chosen
    }
    return _figure(panels, f"Metrics of {', '.join(names)}", len(runs) > 1)


def plot_recorded(runs: Sequence[tuple[str, History]], figure: str) -> Any:
    """A panel for each recorded value and delta: `figure` over the steps, of each run or head.

    Raises ConfigurationError for a figure that is not recorded and for too many values.
    """
    names = distinct([name for name, _ in runs])
    panels: Panels = {}
    for run, (name, (_, history)) in enumerate(zip(names, runs, strict=True)):
        column = history.column(figure)
        for place, recorded in enumerate(history.names):
            match = _PART.fullmatch(recorded)
            panel, axis, index = match.groups() if match else (recorded, "", "0")
            label = ", ".join(filter(None, [name if len(runs) > 1 else "", f"{axis} {index}"]))
            series = _finite((np.array(history.steps), history.values[:, place, column]))
            if not len(series[0]):
                continue
            line = (
                Line(*series, label, _colour(int(index)), _DASHES[run % len(_DASHES)])
                if axis
                else Line(*series, name, _colour(run))
            )
            panels.setdefault(panel, []).append(line)
    several = len(runs) > 1 or any(len(lines) > 1 for lines in panels.values())
    return _figure(panels, f"{figure} of values and deltas of {', '.join(names)}", several)


def plot_spread(runs: Sequence[tuple[str, Metrics]], figures: Sequence[str] = ()) -> Any:
    """How the numbers of metrics are spread over the steps: a picture for each figure and run.

    Raises DataError where no run has enough numbers.
    """
    names = distinct([name for name, _ in runs])
    metrics = [each for _, each in runs]
    found = {
        name: spread_of([series_of(each, name) for each in metrics])
        for name in _chosen(metrics, figures)
    }
    known = [
        (figure, name, each, counts)
        for figure, each in found.items()
        if each is not None
        for name, counts in zip(names, each.counts, strict=True)
        if counts.any()
    ]
    if not known:
        raise DataError(
            "no run has enough numbers for a picture of how they are spread",
            fix=f"train for {FEWEST} steps; --what metrics draws each number",
        )
    figure, axes = _panels(len(known))
    for panel, (title, name, each, counts) in zip(axes, known, strict=True):
        if each.log:
            logarithmic(panel)
        bounds = np.append(each.first, each.last[-1] + 1)
        shades = np.ma.masked_equal(np.sqrt(counts.T), 0)
        panel.pcolormesh(bounds, each.edges, shades, cmap="magma_r", vmin=0, rasterized=True)
        panel.grid(visible=False)
        marked = each.edges[[0, len(each.edges) // 2, -1]]
        panel.set_yticks(marked, [f"{edge:.3g}" for edge in marked])
        _panel_title(panel, f"{title} of {name}" if len(runs) > 1 else title)
    _finish(axes, f"Spread of the metrics of {', '.join(names)}", "darker: more numbers")
    return figure


def _chosen(runs: Sequence[Metrics], figures: Sequence[str]) -> list[str]:
    """The named figures, or all; raises ConfigurationError for one that no run has."""
    known = figure_names(runs)
    if not known:
        raise DataError("the runs have written no metrics yet", fix="train for a step first")
    for name in figures:
        if name not in known:
            raise ConfigurationError(
                f"no run has written a figure {name!r:.60}", fix=suggestion(name, known, "figures")
            )
    return list(dict.fromkeys(figures)) or known[:MOST_PANELS]


def _figure(panels: Panels, title: str, several: bool) -> Any:
    if len(panels) > MOST_PANELS:
        raise ConfigurationError(
            f"{len(panels)} panels are more than a picture shows, which is {MOST_PANELS}",
            fix='choose fewer by name: --node "decoder.1.attention.scores"',
        )
    if not panels:
        raise DataError("nothing of this was recorded", fix="choose another figure or node")
    figure, axes = _panels(len(panels), max(map(len, panels.values())))
    for panel, (name, lines) in zip(axes, panels.items(), strict=True):
        values = np.concatenate([line.values for line in lines])
        if len(values) and values.min() > 0 and values.max() / values.min() > _WIDE_RATIO:
            logarithmic(panel)
        for line in lines:
            marker = {"marker": "o", "markersize": 3} if line.dots or len(line.steps) == 1 else {}
            panel.plot(line.steps, line.values, color=line.colour, linestyle=line.dash, **marker)
        _end_labels(panel, [line for line in lines if len(line.steps)], several)
        _panel_title(panel, name)
    _finish(axes, title)
    return figure


def _panels(count: int, lines: int = 1) -> tuple[Any, list[Any]]:
    """A figure with panels of one step axis, each high enough for the labels of its lines."""
    figure = new_figure(height=_ABOVE + max(_PANEL, _LABEL * lines) * count)
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    return figure, list(axes)


def _panel_title(axes: Any, text: str) -> None:
    axes.text(0.01, 1.03, printable(text, 80), transform=axes.transAxes, color=MUTED)


def _finish(axes: Sequence[Any], title: str, note: str = "") -> None:
    axes[-1].set_xlabel("step", loc="right")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    titled(axes[0], printable(title, 70), note)
    for text in axes[0].texts[-2:]:  # above the panel's own title
        text.set_position((text.get_position()[0], text.get_position()[1] + 11))


def _end_labels(axes: Any, lines: Sequence[Line], several: bool) -> None:
    """The last number of each line, with the run or head where there are several."""
    log = axes.get_yscale() == "log"
    low, high = np.log10(axes.get_ylim()) if log else axes.get_ylim()
    ends = [float(np.log10(line.values[-1]) if log else line.values[-1]) for line in lines]
    gap = min(0.13, 1 / max(1, len(lines))) * (high - low)
    for line, height in zip(lines, spread(ends, gap), strict=True):
        text = f"{line.values[-1]:.4g}" + (f" {line.label}" if several else "")
        colour = line.colour if several else INK
        labelled(axes, line.steps[-1], 10**height if log else height, text, colour, fontsize=8)


def _finite(series: Series) -> Series:
    """The steps and the numbers that are finite."""
    finite = np.isfinite(series[1])
    return series[0][finite], series[1][finite]


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _is_rare(figure: str) -> bool:
    """Whether a figure is one of held-out data, whose few points are marked."""
    return figure.startswith(HELD_OUT)
