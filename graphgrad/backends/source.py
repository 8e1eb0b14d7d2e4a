"""The generated text of a program, and what its names stand for."""

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
    """Of the call table: the kernel itself; a row for each sum follows, to add up its parts."""

    @property
    def end_row(self) -> int:
        return self.first_row + 1 + len(self.nest.loops.partial_sums)


@dataclass(frozen=True)
class Source:
    """The text, and what its names stand for."""

    text: str
    operations: Mapping[str, Callable[..., object]]
    constants: tuple[object, ...]
    line_of: Mapping[Node, int]
    """The line (from 1) on which each node is computed or viewed."""
    kernels: Mapping[str, str]
    """The text of each fused kernel by the name that the program calls it by."""
    calls: tuple[KernelCall, ...]
    """The calls of kernels, in order."""
