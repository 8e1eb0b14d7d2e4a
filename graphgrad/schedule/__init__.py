"""In which order a graph's nodes are computed, and how each value lies in memory: what fusion and
the plan start from."""

from graphgrad.schedule.layout import Layouts, find_layouts
from graphgrad.schedule.order import Schedule, make_schedule

__all__ = ["Layouts", "Schedule", "find_layouts", "make_schedule"]
