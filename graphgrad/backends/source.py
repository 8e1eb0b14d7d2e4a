"""The generated Python text of a program, and the objects that its names refer to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from graphgrad.backends.arguments import LoopText
from graphgrad.fusion import LoopNest
from graphgrad.graph import Node
from graphgrad.plan import Step


@dataclass(frozen=True, eq=False)
class KernelCall:
    """A line of the program that calls a kernel."""

    step: Step
    nest: LoopNest
    kernel: LoopText
    first_row: int
    """The kernel's row in the call table; a row to add up each of its partial sums follows."""

    @property
    def end_row(self) -> int:
        """The row after the last of this call."""
        return self.first_row + 1 + len(self.nest.loops.partial_sums)


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
    calls: tuple[KernelCall, ...]
    """The calls of kernels, in order."""
