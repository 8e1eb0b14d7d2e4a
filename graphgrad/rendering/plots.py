"""Plots the training of a run: loss, learning rate, update ratios.

Each function returns a figure of matplotlib, in the style of `plot_style`. Points that are not
finite are left out. The limits of an axis ignore single early or extreme values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphgrad.errors import DataError
from graphgrad.figures.recording import UPDATE_RATIO
from graphgrad.rendering.plot_style import (
    BLUE,
    COLOURS,
    FAINT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    labelled,
    logarithmic,
    new_figure,
    spread,
    titled,
)
from graphgrad.reports.history import History

Metrics = Sequence[Mapping[str, Any]]
HELD_OUT_LOSS = "held_out_loss"


def plot_loss(metrics: Metrics, run: str, evaluation: Mapping[str, Any] | None = None) -> Any:
    """Plots the loss of every step, its moving average, and the loss on held-out data.

    `evaluation` is the evaluation of a finished run: its `step` and `loss`.
    """
    steps, loss = _columns(metrics, "loss")
    figure = new_figure()
    axes = figure.add_subplot()
    window = max(1, len(loss) // 40)
    smooth = _moving_average(loss, window)
    axes.plot(steps, loss, color=BLUE, alpha=0.25, linewidth=0.7)
    axes.plot(steps, smooth, color=BLUE)
    seen, held_out = _held_out(metrics, evaluation or {})
    if len(seen):
        axes.plot(seen, held_out, color=ORANGE, marker="o", markersize=3.5)
    _vertical(axes, np.concatenate([loss, held_out]), smooth)
    ends = [(float(smooth[-1]), "", BLUE)]
    ends += [(float(value), " held out", ORANGE) for value in held_out[-1:]]
    _labels(axes, steps[-1], ends)
    _horizontal(axes, steps)
    parts = [
        "training loss of every step" if len(seen) or window > 1 else "",
        f"line: mean of {window} steps" if window > 1 else "",
        "dots: held-out data" if len(seen) else "",
    ]
    titled(axes, f"Loss of {run}", "; ".join(filter(None, parts)))
    return figure


def _held_out(metrics: Metrics, evaluation: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which the loss on held-out data is known and finite, and these losses."""
    known = [
        (record["step"], record[HELD_OUT_LOSS]) for record in metrics if HELD_OUT_LOSS in record
    ]
    if evaluation.get("loss") is not None and "step" in evaluation:
        known.append((evaluation["step"], evaluation["loss"]))
    finite = [(step, float(value)) for step, value in known if np.isfinite(value)]
    pairs = np.array(finite, np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def plot_schedule(metrics: Metrics, run: str) -> Any:
    """Plots the learning rate, and below it the norm of the gradient before clipping."""
    figure = new_figure(height=4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1))
    steps, rates = _columns(metrics, "learning_rate")
    upper.plot(steps, rates, color=ORANGE)
    peak = int(np.argmax(rates))
    upper.annotate(
        f"{rates[peak]:.2g} at step {steps[peak]:,}",
        (steps[peak], rates[peak]),
        xytext=(0, 4),
        textcoords="offset points",
        color=ORANGE,
        ha="center",
        va="bottom",
        fontweight="bold",
        annotation_clip=False,
    )
    upper.set_ylim(0, 1.12 * rates[peak] or None)
    titled(upper, f"Learning rate of {run}")
    steps, norms = _columns(metrics, "gradient_norm")
    smooth = _moving_average(norms, max(1, len(norms) // 40))
    lower.plot(steps, norms, color=GREEN, alpha=0.25, linewidth=0.7)
    lower.plot(steps, smooth, color=GREEN)
    _vertical(lower, norms, smooth)
    labelled(lower, steps[-1], smooth[-1], f"{smooth[-1]:.3g}", GREEN, fontweight="bold")
    lower.text(
        0, 1.03, "norm of the gradient, before clipping", transform=lower.transAxes, color=MUTED
    )
    _horizontal(lower, steps)
    return figure


def plot_updates(history: History, run: str) -> Any:
    """Plots ‖Δw‖ / ‖w‖ of every parameter over the recorded steps."""
    column = history.column(UPDATE_RATIO)
    ratios = history.values[:, :, column]
    moving = [number for number in range(len(history.names)) if np.any(ratios[:, number] > 0)]
    if not moving:
        raise DataError(
            "no update of a parameter was recorded",
            fix="record parameters: --inspect-every without --inspect",
        )
    figure = new_figure(width=8.4, height=4.6)
    axes = figure.add_subplot()
    logarithmic(axes)
    steps = np.array(history.steps)
    shown = np.where(ratios[:, moving] > 0, ratios[:, moving], np.nan)
    axes.plot(steps, shown, color=FAINT, linewidth=0.7, alpha=0.7)
    middle = np.array([median(row) for row in shown])
    axes.plot(steps, middle, color=INK, linewidth=2)
    axes.axhline(1e-3, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    last = shown[last_finite(middle)]
    known = np.flatnonzero(np.isfinite(last))
    ranked = known[np.argsort(last[known])]
    chosen = list(dict.fromkeys([*ranked[-2:][::-1], *ranked[:1]]))
    entries = [("median", float(median(last)), INK), ("0.001", 1e-3, MUTED)]
    for number, colour in zip(chosen, COLOURS, strict=False):
        axes.plot(steps, shown[:, number], color=colour, linewidth=1.3)
        entries.append((history.names[moving[number]], float(last[number]), colour))
    low, high = np.log10(axes.get_ylim())
    heights = spread([float(np.log10(value)) for _, value, _ in entries], 0.05 * (high - low))
    for (name, _, colour), height in zip(entries, heights, strict=True):
        labelled(
            axes,
            steps[-1],
            10**height,
            name,
            colour,
            fontweight="bold" if colour == INK else "normal",
        )
    _horizontal(axes, steps)
    titled(
        axes,
        f"Update ratios of {run}",
        "‖Δw‖ / ‖w‖ of every parameter; near 0.001 is a common rule of thumb",
    )
    return figure


# ---------------------------------------------------------------- numbers


def _columns(metrics: Metrics, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which a metric is finite, and its values there."""
    pairs = [(record["step"], float(record[name])) for record in metrics if name in record]
    finite = [(step, value) for step, value in pairs if np.isfinite(value)]
    if not finite:
        raise DataError(f"the metrics of the run have no {name}", fix="train it for a step first")
    steps, values = zip(*finite, strict=True)
    return np.array(steps), np.array(values)


def _moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of the last `window` values at each position, of fewer at the start."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    first = np.maximum(np.arange(len(values)) + 1 - window, 0)
    means: np.ndarray = (total[1:] - total[first]) / (np.arange(len(values)) + 1 - first)
    return means


def _vertical(axes: Any, values: np.ndarray, smooth: np.ndarray) -> None:
    """Sets the vertical axis: logarithmic if values span a wide range, else from 0 to most of
    them."""
    high = max(float(np.quantile(values, 0.99)), float(smooth.max()))
    low = float(np.quantile(values, 0.005))
    if low > 0 and high / low > 30:
        logarithmic(axes)
        axes.set_ylim(low / 1.3, float(values.max()) * 1.3)
    elif low >= 0 and high > 0:
        axes.set_ylim(0, high * 1.06)


def _labels(axes: Any, x: float, ends: Sequence[tuple[float, str, str]]) -> None:
    """Labels the ends of lines with their values, each with a word and a colour, moved apart."""
    log = axes.get_yscale() == "log"
    low, high = np.log10(axes.get_ylim()) if log else axes.get_ylim()
    positions = [np.log10(max(value, 10**low)) if log else value for value, _, _ in ends]
    heights = spread(positions, 0.06 * (high - low))
    for (value, word, colour), height in zip(ends, heights, strict=True):
        labelled(
            axes, x, 10**height if log else height, f"{value:.3g}{word}", colour, fontweight="bold"
        )


def _horizontal(axes: Any, steps: Sequence[int] | np.ndarray) -> None:
    axes.set_xlabel("step", loc="right")
    first, last = int(steps[0]), int(steps[-1])
    axes.set_xlim(min(first, 0) if first < 0.1 * last else first, max(last, first + 1))
    axes.xaxis.get_major_locator().set_params(integer=True)


def median(values: np.ndarray) -> float:
    """The median of the finite values above 0; NaN without one."""
    known = values[np.isfinite(values) & (values > 0)]
    return float(np.median(known)) if known.size else float("nan")


def last_finite(values: np.ndarray) -> int:
    """The position of the last finite value, of which there is one."""
    return int(np.flatnonzero(np.isfinite(values))[-1])
