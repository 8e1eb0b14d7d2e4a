"""Plans memory: assigns a place to the value of each node."""

from graphgrad.plan.overlapped import make_overlapped_plan
from graphgrad.plan.plan import Place, Plan, Scratch, Step, make_plan

__all__ = ["Place", "Plan", "Scratch", "Step", "make_overlapped_plan", "make_plan"]
