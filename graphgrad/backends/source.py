"""The generated Python text of a program, and the objects that its names refer to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphgrad.backends.arguments import LoopText
from graphgrad.fusion import LoopNest
from graphgrad.graph import Node
from graphgrad.plan import Step


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """A line of the program that calls a kernel of attention."""

    step: Step
    nodes: tuple[Node, ...]
    """What it reads and writes, in the order of the numbers of its arguments."""
    kernel: LoopText
    blocks: int
    work: int
    """Products of two numbers."""
    first_row: int

    @property
    def end_row(self) -> int:
        """The row after that of this call."""
        return self.first_row + 1


@dataclass(frozen=True, eq=False)
class KernelCall:
    """A line of the program that calls a kernel: that of a region, or of a product alone."""

    step: Step
    nest: LoopNest | None
    kernel: LoopText
    first_row: int
    """The kernel's row in the call table; a row to add up each of its partial sums follows."""

    @property
    def nodes(self) -> Sequence[Node]:
        """The values by their numbers in the kernel's arguments."""
        return self.step.group.outputs if self.nest is None else self.nest.nodes

    @property
    def partial_sums(self) -> tuple[int, ...]:
        """The values that are added up from partial sums."""
        return () if self.nest is None else self.nest.loops.partial_sums

    @property
    def end_row(self) -> int:
        """The row after the last of this call."""
        return self.first_row + 1 + len(self.partial_sums)


@dataclass(frozen=True)
class Source:
    """The text of a program, and the objects that its names refer to."""

    text: str
    operations: Mapping[str, Callable[..., object]]
    constants: tuple[object, ...]
    line_of: Mapping[Node, int]
    """The line (from 1) that computes each node or makes its view."""
    kernels: Mapping[str, str]
    """The text of each fused kernel, by its name in the program."""
    calls: tuple[KernelCall | AttentionCall, ...]
    """The calls of kernels, in order."""
