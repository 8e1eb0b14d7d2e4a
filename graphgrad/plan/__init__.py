"""From a graph to a schedule and a place in memory for every value."""

from graphgrad.plan.plan import Place, Plan, Scratch, Step, make_plan
from graphgrad.plan.schedule import schedule

__all__ = ["Place", "Plan", "Scratch", "Step", "make_plan", "schedule"]
