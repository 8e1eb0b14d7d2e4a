"""Plans memory: assigns a place to the value of each node."""

from graphgrad.plan.plan import Place, Plan, Scratch, Step, make_plan

__all__ = ["Place", "Plan", "Scratch", "Step", "make_plan"]
