"""What a step would take on many ranks: computed from the times of its lines and a model of a link.

A rank of N computes what the measured one does, on a batch of its own, so that N ranks do N times
the work. What is added are exchanges, of B bytes each, over a link of latency a and rate r:

    sum                  min(2 (N - 1) (a + B / N / r),  2 ⌈log₂ N⌉ a + 2 B / r)    ring or tree
    scatter or gather    (N - 1) (a + B / N / r)                                    half of a ring

- Without overlap every exchange is waited for: compute + Σ exchanges.
- With overlap the program is played through, its starts and waits where it has them (`allowed`).
- ZeRO-1: each sum of a bucket is a scatter, an update computes the N-th part of the parameters, and
  all of them are gathered at the end of the step, with nothing to hide it.
- DiLoCo: every H steps a sum over parameters and moments; the steps between send nothing.

No other traffic, no stragglers and no switch that is too small: these are bounds from above on what
ranks can reach, and the shape of what they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from graphgrad.backends import Program
from graphgrad.graph import parameter
from graphgrad.performance.line_profile import Profile
from graphgrad.performance.overlap import Line, Observed, allowed
from graphgrad.ranks import Link

LINKS: Mapping[str, Link] = {
    "ethernet-1": Link(50e-6, 0.125e9),
    "ethernet-10": Link(30e-6, 1.25e9),
    "ethernet-100": Link(10e-6, 12.5e9),
    "nvlink": Link(5e-6, 350e9),
}
"""Links by name: the latencies are usual ones of a message between two processes, the rates those
of the wire, of NVLink that of large sums as NCCL reports it between H100 and H200."""
SMALLEST_SCATTERED = 4096
"""Bytes: smaller sums stay sums with ZeRO-1."""
WAYS = ("without overlap", "overlap", "ZeRO-1", "DiLoCo")


@dataclass(frozen=True)
class Step:
    """A step of one rank."""

    lines: Sequence[Line]
    updating: frozenset[int]
    """Which of the lines compute updates, by their index."""
    sizes: Mapping[int, int]
    """The bytes of each collective."""
    parameter_bytes: int
    state_bytes: int
    """Those of parameters and all other states."""

    @property
    def compute(self) -> float:
        """The seconds of a rank that waits for nothing."""
        return sum(line.seconds for line in self.lines if line.waits is None)

    @property
    def bytes(self) -> int:
        """What a step adds up."""
        return sum(self.sizes.values())

    def scaled(self, seconds: float) -> Step:
        """The step on a machine where its computation takes so long."""
        factor = seconds / self.compute
        lines = [replace(line, seconds=line.seconds * factor) for line in self.lines]
        return replace(self, lines=lines)

    def seconds(self, way: str, ranks: int, link: Link, every: int) -> float:
        """The seconds of a step; `every` is the number of steps between two exchanges of DiLoCo."""
        if way == "DiLoCo":
            return self.compute + link.reduce_seconds(self.state_bytes, ranks) / every
        if way == "ZeRO-1":
            return self._zero(ranks, link)
        sums = {number: link.reduce_seconds(size, ranks) for number, size in self.sizes.items()}
        if way == "without overlap":
            return self.compute + sum(sums.values())
        return allowed(self.lines, sums)[0]

    def _zero(self, ranks: int, link: Link) -> float:
        lines = [
            replace(line, seconds=line.seconds / ranks) if number in self.updating else line
            for number, line in enumerate(self.lines)
        ]
        scattered = {
            number: link.gather_seconds(size / ranks, ranks)
            if size >= SMALLEST_SCATTERED
            else link.reduce_seconds(size, ranks)
            for number, size in self.sizes.items()
        }
        norm = link.reduce_seconds(4, ranks)
        gathered = link.gather_seconds(self.parameter_bytes / ranks, ranks)
        return allowed(lines, scattered)[0] + norm + gathered

    def state_bytes_of(self, way: str, ranks: int) -> float:
        """What a rank keeps of parameters and states."""
        moments = self.state_bytes - self.parameter_bytes
        if way == "ZeRO-1":
            return self.parameter_bytes + moments / ranks
        return self.state_bytes + (2 * self.parameter_bytes if way == "DiLoCo" else 0)


def step_of(program: Program, found: Profile) -> Step:
    """The step that a profile has measured, of a graph that is split over ranks.

    A step without the events of the clock is a little faster than the sum of its lines. On a busy
    machine it is slower, as medians of lines do not count what other processes take: then the sum
    is taken.
    """
    observed = Observed(program)
    lines = observed.lines_of(found)
    plan, graph = program.plan, program.graph
    groups = [step.group for step in plan.steps[plan.guard_position :]]
    wanted = {program.line_of(group.nodes[-1]) for group in groups}
    updating = frozenset(n for n, line in enumerate(found.lines) if line.line in wanted)
    states = graph.states.values()
    step = Step(
        lines,
        updating,
        observed.sizes,
        sum(node.type.nbytes for node in states if node.operation is parameter),
        sum(node.type.nbytes for node in states),
    )
    waited = sum(line.seconds for line in lines if line.waits is not None)
    return step.scaled(min(found.whole_seconds, found.seconds) - waited)
