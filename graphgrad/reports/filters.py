"""Filters and sorts the nodes of a report by conditions on their figures.

    zeros>0.5     delta_norm<1e-8     non_finite!=0     update_ratio>=0.01

A node is a table of its figures by name; the names of its delta's figures begin with `delta_`. A
figure that does not exist is None; it meets no condition and is sorted last.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from graphgrad.errors import ConfigurationError
from graphgrad.figures.array_figures import FIGURES
from graphgrad.figures.node_report import NodeReport
from graphgrad.reports.history import History
from graphgrad.text import suggestion

FigureTable = Mapping[str, float | None]
Item = TypeVar("Item")

DELTA_PREFIX = "delta_"
REPORTED = (*FIGURES, *(f"{DELTA_PREFIX}{figure}" for figure in FIGURES))
"""The figures of a node in the report of one batch."""

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

    def holds(self, figures: FigureTable) -> bool:
        """Whether the figures meet the condition; False if the figure does not exist."""
        value = figures.get(self.figure)
        return value is not None and _OPERATORS[self.operator](value, self.number)


def parse_condition(text: str, known: Sequence[str] = REPORTED) -> Condition:
    """Parses a condition such as `zeros>0.5`.

    Raises ConfigurationError for other text, and for a figure that is not among `known`.
    """
    match = _CONDITION.fullmatch(text)
    try:
        number = float(match[3]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or math.isnan(number):
        raise ConfigurationError(
            f"{text!r} is not a condition on a figure",
            fix="write a figure, one of > >= < <= = !=, and a number: 'zeros>0.5'",
        )
    return Condition(known_figure(match[1], known), match[2], number)


def known_figure(name: str, known: Sequence[str]) -> str:
    """Returns the name; raises ConfigurationError with the nearest one if no figure has it."""
    if name in known:
        return name
    raise ConfigurationError(
        f"there is no figure {name!r}", fix=suggestion(name, known, "choose one of")
    )


def ordered(
    items: Iterable[Item],
    figures_of: Callable[[Item], FigureTable],
    sort: str | None = None,
    limit: int | None = None,
    conditions: Sequence[Condition] = (),
) -> list[Item]:
    """At most `limit` items that meet all conditions, sorted by the magnitude of the figure `sort`.

    The largest is first; items without that figure are last. Without `sort` the order stays.
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
    """The table of figures of a node in the report of one batch."""
    table: dict[str, float | None] = {}
    for prefix, found in (("", report.value), (DELTA_PREFIX, report.delta)):
        if found is not None:
            table |= {f"{prefix}{figure}": getattr(found, figure) for figure in FIGURES}
    return table


def figures_of_history(history: History, step: int) -> dict[str, dict[str, float | None]]:
    """The tables of figures of all recorded nodes, by name, at a recorded step."""
    row = history.steps.index(step)
    tables: dict[str, dict[str, float | None]] = {}
    for name, values in zip(history.names, history.values[row].tolist(), strict=True):
        node = history.node_of(name)
        prefix = DELTA_PREFIX if name in history.deltas else ""
        tables.setdefault(node, {}).update(
            (f"{prefix}{figure}", None if math.isnan(value) else value)
            for figure, value in zip(history.figures, values, strict=True)
        )
    return tables
