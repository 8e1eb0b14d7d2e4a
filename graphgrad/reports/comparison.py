"""Two runs side by side: the same figure of the same node in both, with the ratio.

Nodes are matched by name. What differs most comes first: by how many times one figure is larger
than the other, whichever way round; a figure that only one of them has, or whose sign or being 0
differs, comes before all others. Nodes that only one run has are listed apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from graphgrad.reports.filters import Figures


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure of one node in both runs; None where it does not exist."""

    name: str
    first: float | None
    second: float | None

    @property
    def ratio(self) -> float | None:
        """second / first; None where one is missing or the first is 0."""
        if self.first is None or self.second is None or not self.first:
            return None
        return self.second / self.first

    @property
    def distance(self) -> float:
        """|log ratio|: 0 where they are equal, ∞ where no ratio says how they differ."""
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
    first: Mapping[str, Figures], second: Mapping[str, Figures], figure: str
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
