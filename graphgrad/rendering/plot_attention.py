"""Attention weights as pictures: a row an attention, a column a head, tokens along the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.figures.attention_maps import AttentionMap
from graphgrad.rendering.plot_fonts import need_matplotlib
from graphgrad.rendering.plot_style import INK, MUTED, new_figure
from graphgrad.text import printable

SIDE = 48
"""How many queries and keys of a map are shown at most."""
MAPS = 64
"""How many maps one picture holds at most."""
_CELL, _LEAST = 0.075, 1.35  # inches


def plot_attention(maps: Sequence[AttentionMap], run: str) -> Any:
    """Every head of every attention; ConfigurationError where those are too many to be seen."""
    heads = max(len(item.weights) for item in maps)
    if len(maps) * heads > MAPS:
        raise ConfigurationError(
            f"{len(maps)} attentions of {heads} heads are more than one picture can show",
            fix='choose some: --node "encoder.0.*"',
        )
    widths = max(_inches(len(item.keys)) for item in maps)
    heights = [_inches(len(item.queries)) for item in maps]
    figure = new_figure(1.2 + heads * (widths + 0.35), 1.0 + sum(heights) + 0.62 * len(maps))
    figure.suptitle(
        printable(f"Attention of {run}"), x=0.01, ha="left", fontsize=12, fontweight="bold"
    )
    figure.supxlabel(
        "rows: queries, columns: keys; white is 0, the darkest blue 1",
        x=0.01,
        ha="left",
        fontsize=8,
        color=MUTED,
    )
    grid = figure.subplots(len(maps), heads, squeeze=False, height_ratios=heights)
    for row, item in zip(grid, maps, strict=True):
        for head, axes in enumerate(row):
            if head < len(item.weights):
                _draw(axes, item, head)
            else:
                axes.set_axis_off()
    return figure


def _inches(places: int) -> float:
    return max(_LEAST, _CELL * min(places, SIDE))


def _draw(axes: Any, item: AttentionMap, head: int) -> None:
    """One head; tokens of the queries stand beside the first."""
    weights = item.weights[head, :SIDE, :SIDE]
    axes.imshow(
        weights, cmap=_white_to_blue(), vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.5)
    axes.tick_params(length=0, pad=1.5)
    size = 5.5 if max(weights.shape) > 16 else 7
    axes.set_xticks(range(weights.shape[1]), _labels(item.keys), fontsize=size, color=INK)
    for label in axes.get_xticklabels():
        label.set_rotation(90 if len(label.get_text()) > 2 else 0)
    axes.set_yticks([])
    if head == 0:
        axes.set_yticks(range(weights.shape[0]), _labels(item.queries), fontsize=size, color=INK)
        scope = item.name.rpartition(".")[0] or item.name
        axes.set_title(printable(scope, 40), loc="left", fontsize=9, fontweight="bold", pad=5)
    axes.set_title(f"head {head}", loc="right", fontsize=8, color=MUTED, pad=5)


def _white_to_blue() -> Any:
    need_matplotlib()
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "weights", ["#ffffff", "#9cc0e7", "#2563a8", "#0b2a52"]
    )


def _labels(tokens: Sequence[str]) -> list[str]:
    """Tokens as they can be seen: a space is drawn, what is long is cut."""
    return [printable(token, 12).replace(" ", "␣") for token in tokens[:SIDE]]
