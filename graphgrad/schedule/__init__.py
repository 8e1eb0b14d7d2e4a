"""The schedule of a graph: the order of its computations, and the memory layout of each value."""

from graphgrad.schedule.layout import Layouts, find_layouts
from graphgrad.schedule.order import Schedule, make_schedule

__all__ = ["Layouts", "Schedule", "find_layouts", "make_schedule"]
