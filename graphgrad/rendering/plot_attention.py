"""Plots attention weights: one row per attention, one column per head, tokens along the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.figures.attention_maps import AttentionMap
from graphgrad.rendering.plot_fonts import need_matplotlib
from graphgrad.rendering.plot_style import INK, MUTED, new_figure
from graphgrad.text import printable

SIDE = 64
"""The largest number of queries and of keys of a map."""
MAPS = 64
"""The largest number of maps in one picture."""
_CELL, _LEAST = 0.085, 1.35  # inches


def plot_attention(maps: Sequence[AttentionMap], run: str) -> Any:
    """Plots every head of every attention; raises ConfigurationError if there are too many."""
    heads = max(len(item.weights) for item in maps)
    if len(maps) * heads > MAPS:
        raise ConfigurationError(
            f"{len(maps)} attentions of {heads} heads are more than one picture can show",
            fix='choose some: --node "encoder.0.*"',
        )
    widths = max(_inches(len(item.keys)) for item in maps)
    heights = [_inches(len(item.queries)) for item in maps]
    figure = new_figure(1.7 + heads * (widths + 0.35), 1.0 + sum(heights) + 0.78 * len(maps))
    figure.suptitle(
        printable(f"Attention of {run}"), x=0.01, ha="left", fontsize=12, fontweight="bold"
    )
    figure.supxlabel(
        "rows: queries, columns: keys",
        x=0.01,
        ha="left",
        fontsize=8,
        color=MUTED,
    )
    grid = figure.subplots(len(maps), heads, squeeze=False, height_ratios=heights)
    images = []
    for row, item in zip(grid, maps, strict=True):
        for head, axes in enumerate(row):
            if head < len(item.weights):
                images.append(_draw(axes, item, head))
            else:
                axes.set_axis_off()
    _colour_bar(figure, images[0], grid[0])
    return figure


def _inches(tokens: int) -> float:
    return max(_LEAST, _CELL * min(tokens, SIDE))


def _colour_bar(figure: Any, image: Any, row: Any) -> None:
    """Draws the scale of the weights, which is the same for all maps, beside the first row."""
    bar = figure.colorbar(image, ax=list(row), location="right", aspect=16, fraction=0.05, pad=0.02)
    bar.set_ticks([0.0, 0.5, 1.0])
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label("weight α", fontsize=8, color=MUTED)
    bar.outline.set_linewidth(0.5)


def _draw(axes: Any, item: AttentionMap, head: int) -> Any:
    """Draws one head and returns the image; the first has the name of the attention above it and
    the tokens of the queries beside it. The name has a line of its own: it may be longer than the
    map is wide."""
    weights = item.weights[head, :SIDE, :SIDE]
    image = axes.imshow(
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
        axes.set_title(
            printable(scope, 40) + "\n", loc="left", fontsize=9, fontweight="bold", pad=5
        )
    axes.set_title(f"head {head}", loc="right", fontsize=8, color=MUTED, pad=5)
    return image


def _white_to_blue() -> Any:
    need_matplotlib()
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "weights", ["#ffffff", "#9cc0e7", "#2563a8", "#0b2a52"]
    )


def _labels(tokens: Sequence[str]) -> list[str]:
    """The tokens as short labels; a space is written as ␣."""
    return [printable(token, 12).replace(" ", "␣") for token in tokens[:SIDE]]
