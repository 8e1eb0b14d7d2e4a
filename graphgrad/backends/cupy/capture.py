"""What of a program is captured: as data, before there is a device.

Actions between those that cannot be captured become segments; each captured one is launched by one
call from the second run on. A launch alone gains nothing by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from graphgrad.backends.cupy.launches import Action, Computed, Product

LEAST = 3
"""Actions from which capturing is worth a call of its own."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Actions that follow each other, from the first to before the second number."""

    begin: int
    end: int
    captured: bool

    @property
    def launches(self) -> int:
        """How many calls start it."""
        return 1 if self.captured else self.end - self.begin


def segments_of(actions: Sequence[Action], products: bool) -> tuple[Segment, ...]:
    """All actions in order; `products` says whether a matrix product can be captured."""

    def can(number: int) -> bool:
        action = actions[number]
        if isinstance(action, Product):
            return products and action.gemm is not None
        return not isinstance(action, Computed)

    found: list[Segment] = []
    for captured, its in groupby(range(len(actions)), can):
        numbers = list(its)
        worth = captured and len(numbers) >= LEAST
        if found and not worth and not found[-1].captured:
            found[-1] = Segment(found[-1].begin, numbers[-1] + 1, False)
        else:
            found.append(Segment(numbers[0], numbers[-1] + 1, worth))
    return tuple(found)


def launches_of(segments: Iterable[Segment]) -> int:
    """How many calls start a step."""
    return sum(segment.launches for segment in segments)
