"""Which nodes a report shows, and in what order: conditions on figures, and sorting by one.

    zeros>0.5     delta_norm<1e-8     non_finite!=0     update_ratio>=0.01

A node is seen as a table of its figures by name: those of its value, and those of its delta with
`delta_` before them. A figure that does not exist is None; it meets no condition and comes last.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from graphgrad.errors import ConfigurationError
from graphgrad.figures.statistics import FIGURES, NodeReport
from graphgrad.reports.history import History
from graphgrad.text import suggestion

Figures = Mapping[str, float | None]
Item = TypeVar("Item")

DELTA_PREFIX = "delta_"
REPORTED = (*FIGURES, *(f"{DELTA_PREFIX}{figure}" for figure in FIGURES))
"""The figures of a node of which one batch was computed."""

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|!=|==|>|<|=)\s*(\S+)\s*")


@dataclass(frozen=True)
class Condition:
    """One figure compared with a number."""

    figure: str
    operator: str
    number: float

    def holds(self, figures: Figures) -> bool:
        """False where the figure does not exist."""
        value = figures.get(self.figure)
        return value is not None and _OPERATORS[self.operator](value, self.number)


def parse_condition(text: str, known: Sequence[str] = REPORTED) -> Condition:
    """`zeros>0.5` as a condition; ConfigurationError where it is none or its figure is unknown."""
    match = _CONDITION.fullmatch(text)
    try:
        number = float(match[3]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or math.isnan(number):
        raise ConfigurationError(
            f"{text!r} is no condition on a figure",
            fix="write a figure, one of > >= < <= = !=, and a number: 'zeros>0.5'",
        )
    return Condition(known_figure(match[1], known), match[2], number)


def known_figure(name: str, known: Sequence[str]) -> str:
    """The name itself; ConfigurationError with the nearest one where there is no such figure."""
    if name in known:
        return name
    raise ConfigurationError(
        f"there is no figure {name!r}", fix=suggestion(name, known, "choose one of")
    )


def ordered(
    items: Iterable[Item],
    figures_of: Callable[[Item], Figures],
    sort: str | None = None,
    limit: int | None = None,
    conditions: Sequence[Condition] = (),
) -> list[Item]:
    """The items that meet all conditions, the largest magnitude of `sort` first, `limit` at most.

    Items without that figure come last; without `sort` the order stays.
    """
    chosen = [
        item for item in items if all(condition.holds(figures_of(item)) for condition in conditions)
    ]
    if sort is not None:
        chosen.sort(key=lambda item: _rank(figures_of(item).get(sort)))
    return chosen[:limit] if limit is not None and limit >= 0 else chosen


def _rank(figure: float | None) -> tuple[bool, float]:
    return figure is None, 0.0 if figure is None else -abs(figure)


def figures_of_report(report: NodeReport) -> dict[str, float | None]:
    """The figures of a node of one batch, those of its delta with `delta_` before them."""
    table: dict[str, float | None] = {}
    for prefix, found in (("", report.value), (DELTA_PREFIX, report.delta)):
        if found is not None:
            table |= {f"{prefix}{figure}": getattr(found, figure) for figure in FIGURES}
    return table


def figures_of_history(history: History, step: int) -> dict[str, dict[str, float | None]]:
    """The same for every recorded node, by name, at the recorded step of that number."""
    place = history.steps.index(step)
    tables: dict[str, dict[str, float | None]] = {}
    for name, values in zip(history.names, history.values[place].tolist(), strict=True):
        node = history.node_of(name)
        prefix = DELTA_PREFIX if name in history.deltas else ""
        tables.setdefault(node, {}).update(
            (f"{prefix}{statistic}", None if math.isnan(value) else value)
            for statistic, value in zip(history.statistics, values, strict=True)
        )
    return tables
