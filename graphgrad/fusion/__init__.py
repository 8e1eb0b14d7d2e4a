"""Which nodes of a graph one kernel computes together, and how: groups, and loop nests as data.

reading, slow: what a kernel can read, and what it leaves to NumPy
region, grouping: regions grow along the schedule and become groups, in the order in which they run
statements, builder, nest: a region's loops as data, which an engine prints
"""

from graphgrad.fusion.group import Group, without_fusion
from graphgrad.fusion.grouping import fuse
from graphgrad.fusion.nest import LoopNest

__all__ = ["Group", "LoopNest", "fuse", "without_fusion"]
