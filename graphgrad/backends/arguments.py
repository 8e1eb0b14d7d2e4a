"""A generated kernel, and its arguments: numbers, and addresses of the arrays that it reads or
writes.

Values are identified by their numbers in the loops; their addresses are known when a program is
linked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphgrad.fusion.reading import Sizes


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the value with this number."""

    value: int


@dataclass(frozen=True, slots=True)
class RowTable:
    """The address of a table, int32[rows]: for each row of the space, the index of the argument's
    row. `leading` are the axes of the argument but the last."""

    leading: Sizes
    space: Sizes

    def array(self) -> np.ndarray:
        """The table."""
        numbers = np.arange(int(np.prod(self.leading, dtype=int)), dtype=np.int32)
        rows = np.broadcast_to(numbers.reshape(self.leading), self.space[:-1])
        return np.ascontiguousarray(rows).reshape(-1)


@dataclass(frozen=True, slots=True)
class MaskStream:
    """The number of the random stream of a mask. It is an argument, and not part of the text,
    because the masks of equal layers differ in it alone."""

    value: int


@dataclass(frozen=True, slots=True)
class PartialSums:
    """The address of partial sums, one for each block: the step's scratch array of this number."""

    number: int


KernelArgument = int | Address | RowTable | MaskStream | PartialSums
"""An argument of a kernel: a number, or the address of an array."""


@dataclass(frozen=True)
class LoopText:
    """A kernel in the loop language, and its arguments."""

    text: str
    arguments: tuple[KernelArgument, ...]
