"""From groups of nodes in order to a place in memory for every value."""

from graphgrad.plan.plan import Place, Plan, Scratch, Step, make_plan

__all__ = ["Place", "Plan", "Scratch", "Step", "make_plan"]
