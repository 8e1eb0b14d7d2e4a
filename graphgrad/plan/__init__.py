"""From a graph to a schedule and a place in memory for every value."""

from graphgrad.plan.layout import Layouts
from graphgrad.plan.plan import (
    Group,
    Grouping,
    Place,
    Plan,
    Scratch,
    Step,
    alone,
    make_plan,
    one_by_one,
)
from graphgrad.plan.schedule import schedule

__all__ = [
    "Group", "Grouping", "Layouts", "Place", "Plan", "Scratch", "Step", "alone", "make_plan",
    "one_by_one", "schedule",
]  # fmt: skip
