"""Fuses nodes into kernels: groups of nodes, and their loop nests as data.

reading, slow: the values that a kernel can read, and the operations that are left to NumPy
region, grouping: regions grow along the schedule and become groups, ordered as they run
joint: operations that are computed in one step although no loop nest does it
statements, builder, nest: the loops of a region as data, which each backend renders as text
"""

from graphgrad.fusion.group import Group, without_fusion
from graphgrad.fusion.grouping import fuse
from graphgrad.fusion.nest import LoopNest

__all__ = ["Group", "LoopNest", "fuse", "without_fusion"]
