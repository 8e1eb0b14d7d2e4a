"""A printed kernel, and what it has to be given: numbers, and addresses of what it reads or writes.

Values are named by their numbers in the loops; where each lies is known when a program is linked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphgrad.fusion.reading import Sizes


@dataclass(frozen=True, slots=True)
class Address:
    """Where the value of this number lies."""

    value: int


@dataclass(frozen=True, slots=True)
class RowTable:
    """The address of a table, int32[rows]: for each row of the space the row of an argument, whose
    axes but the last are `leading`."""

    leading: Sizes
    space: Sizes

    def array(self) -> np.ndarray:
        numbers = np.arange(int(np.prod(self.leading, dtype=int)), dtype=np.int32)
        rows = np.broadcast_to(numbers.reshape(self.leading), self.space[:-1])
        return np.ascontiguousarray(rows).reshape(-1)


@dataclass(frozen=True, slots=True)
class MaskStream:
    """The number of the stream that a mask is drawn from: all that tells masks of equal layers
    apart, so it is no part of the text."""

    value: int


@dataclass(frozen=True, slots=True)
class PartialSums:
    """Where the parts of a collected sum lie, one for each block: the step's working array of this
    number."""

    number: int


KernelArgument = int | Address | RowTable | MaskStream | PartialSums
"""What a kernel is given: a number, or the address of something."""


@dataclass(frozen=True)
class LoopText:
    """A kernel in the loop language, and what it has to be given."""

    text: str
    words: tuple[KernelArgument, ...]
