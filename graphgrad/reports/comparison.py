"""Compares two runs: the same figure of the same node in both, with the ratio.

Nodes are matched by name and sorted by their difference, the largest first: how many times one
figure is larger than the other. A figure that only one run has, or that differs in its sign or in
being 0, is sorted before all others. Nodes that only one run has are listed apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from graphgrad.reports.filters import FigureTable


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure of one node in both runs; None if it does not exist in a run."""

    name: str
    first: float | None
    second: float | None

    @property
    def ratio(self) -> float | None:
        """second / first; None if one is missing or the first is 0."""
        if self.first is None or self.second is None or not self.first:
            return None
        return self.second / self.first

    @property
    def distance(self) -> float:
        """|log ratio|: 0 for equal figures, ∞ for figures without a positive ratio."""
        if self.first == self.second:
            return 0.0
        ratio = self.ratio
        return abs(math.log(ratio)) if ratio is not None and 0 < ratio < math.inf else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "ratio": self.ratio}


@dataclass(frozen=True)
class RunComparison:
    """The pairs, largest difference first, and the names that only one of the runs has."""

    figure: str
    pairs: tuple[Pair, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def compare(
    first: Mapping[str, FigureTable], second: Mapping[str, FigureTable], figure: str
) -> RunComparison:
    """Compares one figure of the nodes of two runs, given as tables of figures by name."""
    pairs = [
        Pair(name, figures.get(figure), second[name].get(figure))
        for name, figures in first.items()
        if name in second
    ]
    shown = [pair for pair in pairs if pair.first is not None or pair.second is not None]
    return RunComparison(
        figure,
        tuple(sorted(shown, key=lambda pair: -pair.distance)),
        tuple(name for name in first if name not in second),
        tuple(name for name in second if name not in first),
    )
