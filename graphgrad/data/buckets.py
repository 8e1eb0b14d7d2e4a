"""A few shapes that hold all pairs with little padding.

Design: the shapes form a chain: each is at least as wide as the one before it on both sides, and a
pair belongs to the first that holds it. Among all chains of so many shapes, whose widths are taken
from a grid of at most `GRID` lengths a side, the one with the fewest padded ids is found by dynamic
programming: best(k, shape) is the least cost of everything that fits a shape, in k shapes of which
it is the last.

The grid has lengths of equally many pairs, for the many short ones, and lengths at equal distances,
for the few long ones.
"""

import numpy as np

GRID = 40
Shape = tuple[int, int]


def choose_shapes(sources: np.ndarray, targets: np.ndarray, count: int) -> list[Shape]:
    """At most `count` shapes (source width, target width), ascending, the last holds every pair.

    `sources` and `targets` are the lengths of the pairs, at least one. A shape that no pair
    needs is left out.
    """
    source_grid, target_grid = _grid(sources), _grid(targets)
    fitting = _fitting(sources, targets, source_grid, target_grid).ravel()
    widths = np.add.outer(source_grid, target_grid).ravel().astype(float)
    row, column = np.divmod(np.arange(len(widths)), len(target_grid))
    inside = (row[:, None] <= row) & (column[:, None] <= column)  # [smaller, larger]
    costs = fitting * widths
    before: list[np.ndarray] = []
    for _ in range(count - 1):
        through = np.where(inside, costs[:, None] - np.outer(fitting, widths), np.inf)
        chosen = through.argmin(axis=0)
        before.append(chosen)
        costs = fitting * widths + through[chosen, np.arange(len(widths))]
    chain = [len(widths) - 1]
    for chosen in reversed(before):
        chain.append(int(chosen[chain[-1]]))
    chain.reverse()
    held = np.diff(fitting[chain], prepend=0)
    return [
        (int(source_grid[row[place]]), int(target_grid[column[place]]))
        for place, pairs in zip(chain, held, strict=True)
        if pairs
    ]


def shape_of(sources: np.ndarray, targets: np.ndarray, shapes: list[Shape]) -> np.ndarray:
    """The number of the first shape that holds each pair; `len(shapes)` where none does."""
    widths, target_widths = np.array(shapes).T
    first_source = np.searchsorted(widths, sources)
    return np.maximum(first_source, np.searchsorted(target_widths, targets))


def _grid(lengths: np.ndarray) -> np.ndarray:
    """The lengths that may be widths, the longest among them."""
    distinct = np.unique(lengths)
    if len(distinct) <= GRID:
        return distinct
    half = GRID // 2
    places = np.linspace(0, len(lengths) - 1, half).round().astype(np.int64)
    even = np.searchsorted(distinct, np.linspace(distinct[0], distinct[-1], half))
    return np.unique([*np.sort(lengths)[places], *distinct[even]])


def _fitting(
    sources: np.ndarray, targets: np.ndarray, source_grid: np.ndarray, target_grid: np.ndarray
) -> np.ndarray:
    """How many pairs each shape of the grid holds."""
    counts = np.zeros((len(source_grid), len(target_grid)), np.int64)
    places = np.searchsorted(source_grid, sources), np.searchsorted(target_grid, targets)
    np.add.at(counts, places, 1)
    return counts.cumsum(axis=0).cumsum(axis=1)
