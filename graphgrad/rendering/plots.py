"""Plots of a run's course: loss, learning rate, gradient flow by depth, update ratios.

Each function takes data and gives a figure; see `plot_style` for how figures look and are written.
Points that are not finite are left out. Where one early or odd value would squeeze the rest, the
axis is set by the bulk of the values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    RED,
    labelled,
    logarithmic,
    new_figure,
    spread,
    titled,
)
from graphgrad.reports.history import History
from graphgrad.text import printable

Metrics = Sequence[Mapping[str, Any]]
HELD_OUT_LOSS = "held_out_loss"
_BLOCK = re.compile(r"^(.*?\.\d+|[^.]+)(?:\.|$)")


def plot_loss(metrics: Metrics, run: str, evaluation: Mapping[str, Any] | None = None) -> Any:
    """The loss of every step and its moving average, and beside it the loss on held-out data.

    `evaluation` is what a finished run was measured to be at its end: a step and its `loss`.
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
    """The steps at which the loss on held-out data is known and finite, and the loss there."""
    known = [
        (record["step"], record[HELD_OUT_LOSS]) for record in metrics if HELD_OUT_LOSS in record
    ]
    if evaluation.get("loss") is not None and "step" in evaluation:
        known.append((evaluation["step"], evaluation["loss"]))
    finite = [(step, float(value)) for step, value in known if np.isfinite(value)]
    pairs = np.array(finite, np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def plot_schedule(metrics: Metrics, run: str) -> Any:
    """The learning rate, and below it the norm of the gradient before clipping."""
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


def plot_flow(history: History, run: str) -> Any:
    """The root mean square of δ by depth: a point a node, a line a recorded step."""
    flow = _flow_of(history)
    count = len(flow.blocks)
    figure = new_figure(width=max(7.2, 0.62 * count), height=4.6)
    axes = figure.add_subplot()
    logarithmic(axes)
    last = flow.sizes[-1]
    known = last > 0
    axes.plot(
        flow.places[known],
        last[known],
        linestyle="none",
        marker="o",
        markersize=2.4,
        color=RED,
        alpha=0.35,
        markeredgewidth=0,
    )
    floor = float(np.quantile(last[known], 0.5)) * 1e-5 if known.any() else 0.0
    below = int(np.sum(last[known] < floor))
    if below:  # 0 but for rounding, as the deltas of keys' biases are
        axes.set_ylim(bottom=float(last[last >= floor].min()) / 2)
        axes.annotate(
            f"{below} nodes are below, 0 but for rounding",
            (1, 0),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            color=MUTED,
            fontsize=8,
        )
    _flow_lines(axes, history, flow)
    axes.set_xticks(
        range(count),
        [printable(block, 30) for block in flow.blocks],
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_xlim(-0.6, count - 0.4)
    note = "root mean square of δ; line: median of each block, dots: nodes at the last step"
    titled(axes, f"Gradient flow of {run}", note)
    return figure


@dataclass(frozen=True)
class _Flow:
    """Root mean squares [steps, nodes] of deltas, and where each node is drawn."""

    blocks: tuple[str, ...]
    sizes: np.ndarray
    block_of: np.ndarray
    places: np.ndarray


def _flow_of(history: History) -> _Flow:
    members: dict[str, list[str]] = {}
    for name in history.names:
        if name in history.deltas:
            members.setdefault(_block(history.node_of(name)), []).append(name)
    if len(members) > 3:  # a lone node (the loss, its sum) is no block
        members = {block: those for block, those in members.items() if len(those) > 1} or members
    chosen = [name for those in members.values() for name in those]
    sizes = np.array([_root_mean_square(history, name) for name in chosen]).T
    if not np.any(sizes > 0):
        raise DataError("no delta was recorded", fix="record with --inspect-every and no --inspect")
    block_of = np.repeat(np.arange(len(members)), [len(those) for those in members.values()])
    shifts = [
        np.linspace(-0.26, 0.26, len(those)) if len(those) > 1 else np.zeros(1)
        for those in members.values()
    ]
    return _Flow(tuple(members), sizes, block_of, block_of + np.concatenate(shifts))


def _flow_lines(axes: Any, history: History, flow: _Flow) -> None:
    """The median of each block at the first, a middle and the last step, labelled at the end."""
    drawn = []
    for step in _picked(history.steps):
        row = flow.sizes[history.steps.index(step)]
        medians = np.array(
            [_median(row[flow.block_of == block]) for block in range(len(flow.blocks))]
        )
        if np.isfinite(medians).any():
            drawn.append((step, medians))
    low, high = np.log10(axes.get_ylim())
    ends = [float(np.log10(medians[_last_finite(medians)])) for _, medians in drawn]
    heights = spread(ends, 0.045 * (high - low))
    for number, ((step, medians), height) in enumerate(zip(drawn, heights, strict=True)):
        latest = number == len(drawn) - 1
        colour = RED if latest else ("#dba7b8", "#c87b94")[number % 2]
        axes.plot(range(len(medians)), medians, color=colour, linewidth=2 if latest else 1.2)
        labelled(
            axes,
            _last_finite(medians) + 0.3,
            10**height,
            f"step {step:,}",
            colour,
            fontweight="bold" if latest else "normal",
        )


def plot_updates(history: History, run: str) -> Any:
    """‖Δw‖ / ‖w‖ of every parameter over the recorded steps."""
    column = history.column(UPDATE_RATIO)
    ratios = history.values[:, :, column]
    moving = [place for place in range(len(history.names)) if np.any(ratios[:, place] > 0)]
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
    middle = np.array([_median(row) for row in shown])
    axes.plot(steps, middle, color=INK, linewidth=2)
    axes.axhline(1e-3, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    last = shown[_last_finite(middle)]
    known = np.flatnonzero(np.isfinite(last))
    ranked = known[np.argsort(last[known])]
    chosen = list(dict.fromkeys([*ranked[-2:][::-1], *ranked[:1]]))
    entries = [("median", float(_median(last)), INK), ("0.001", 1e-3, MUTED)]
    for place, colour in zip(chosen, COLOURS, strict=False):
        axes.plot(steps, shown[:, place], color=colour, linewidth=1.3)
        entries.append((history.names[moving[place]], float(last[place]), colour))
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
    """The steps at which a figure is finite, and the figure there."""
    pairs = [(record["step"], float(record[name])) for record in metrics if name in record]
    finite = [(step, value) for step, value in pairs if np.isfinite(value)]
    if not finite:
        raise DataError(f"the metrics of the run hold no {name}", fix="train it for a step first")
    steps, values = zip(*finite, strict=True)
    return np.array(steps), np.array(values)


def _moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of the last `window` values at each place; of fewer at the start."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    first = np.maximum(np.arange(len(values)) + 1 - window, 0)
    means: np.ndarray = (total[1:] - total[first]) / (np.arange(len(values)) + 1 - first)
    return means


def _vertical(axes: Any, values: np.ndarray, smooth: np.ndarray) -> None:
    """A logarithmic axis where values span much; else one from 0, set by the bulk of them."""
    high = max(float(np.quantile(values, 0.99)), float(smooth.max()))
    low = float(np.quantile(values, 0.005))
    if low > 0 and high / low > 30:
        logarithmic(axes)
        axes.set_ylim(low / 1.3, float(values.max()) * 1.3)
    elif low >= 0 and high > 0:
        axes.set_ylim(0, high * 1.06)


def _labels(axes: Any, x: float, ends: Sequence[tuple[float, str, str]]) -> None:
    """Values at the end of their lines, each with a word and in a colour, moved apart."""
    log = axes.get_yscale() == "log"
    low, high = np.log10(axes.get_ylim()) if log else axes.get_ylim()
    places = [np.log10(max(value, 10**low)) if log else value for value, _, _ in ends]
    heights = spread(places, 0.06 * (high - low))
    for (value, word, colour), height in zip(ends, heights, strict=True):
        labelled(
            axes, x, 10**height if log else height, f"{value:.3g}{word}", colour, fontweight="bold"
        )


def _horizontal(axes: Any, steps: Sequence[int] | np.ndarray) -> None:
    axes.set_xlabel("step", loc="right")
    first, last = int(steps[0]), int(steps[-1])
    axes.set_xlim(min(first, 0) if first < 0.1 * last else first, max(last, first + 1))
    axes.xaxis.get_major_locator().set_params(integer=True)


def _root_mean_square(history: History, name: str) -> np.ndarray:
    """√(mean² + std²) over the steps: the norm without the size of the array."""
    found = np.hypot(history.of(name, "mean"), history.of(name, "std"))
    return np.where(np.isfinite(found), found, 0.0)


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values) & (values > 0)]
    return float(np.median(known)) if known.size else float("nan")


def _last_finite(values: np.ndarray) -> int:
    return int(np.flatnonzero(np.isfinite(values))[-1])


def _picked(steps: Sequence[int]) -> list[int]:
    """The first, a middle and the last of the steps."""
    return list(dict.fromkeys([steps[0], steps[len(steps) // 2], steps[-1]]))


def _block(name: str) -> str:
    """`encoder.0` of `encoder.0.attention.query.w`; the first part of other names."""
    match = _BLOCK.match(name)
    return match[1] if match else name
