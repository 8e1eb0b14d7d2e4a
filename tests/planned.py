"""The plan of a graph as it is, without passes."""

from __future__ import annotations

from collections.abc import Sequence

from graphgrad import Graph, Node
from graphgrad.fusion import fuse, without_fusion
from graphgrad.options import Options
from graphgrad.plan import Plan, make_plan
from graphgrad.schedule import make_schedule


def plan_of(graph: Graph, guards: Sequence[Node] = (), fused: bool = False) -> Plan:
    """The plan; with `fused` every region is a kernel, however small."""
    schedule = make_schedule(graph, guards)
    return make_plan(
        schedule, fuse(schedule, Options(smallest_kernel=1)) if fused else without_fusion(schedule)
    )
