"""What the plan and the call table know of a kernel: its text, and what it has to be given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphgrad.graph import Node
from graphgrad.kernels.region import Region

BLOCKS = 16
"""Into how many blocks the rows of a kernel are cut, but for very few rows and very many."""
LONGEST_SUM = 1024
"""Elements of a row that are summed as they come; a longer row is summed in parts. A vector has
many lanes, each of which adds up few of them."""
LARGEST_BLOCK = 256
"""Rows of a block at most: so many are added up, one by one, in a sum over rows."""


def block_count(rows: int) -> int:
    """How many blocks the rows are cut into: a function of the rows alone, not of the threads."""
    return max(1, min(BLOCKS, rows // 4), -(-rows // LARGEST_BLOCK))


@dataclass(frozen=True, eq=False)
class Argument:
    """What a kernel reads: a node, and how its elements follow the rows of the space."""

    node: Node
    form: str
    """One of those that `reading.form_of` names."""
    table: np.ndarray | None = None


@dataclass(frozen=True)
class Part:
    """The parts of a collected sum, one for each block: the working array of this number."""

    number: int


@dataclass(frozen=True)
class Stream:
    """The number of the stream that a dropout mask is drawn from: all that tells masks of equal
    layers apart, so it is no part of the text."""

    mask: Node


Word = int | Node | np.ndarray | Part | Stream
"""What a kernel is given: a number, or the address of a value, of a table, of a working array."""


@dataclass(frozen=True)
class LoopNest:
    """The text of a kernel and what it has to be given."""

    region: Region
    text: str
    words: tuple[Word, ...]
    arguments: tuple[Argument, ...]
    outputs: tuple[Node, ...]
    collected: tuple[Node, ...]
    """Outputs that are sums over rows or over everything: one part for each block."""
    rows: int
    columns: int
    last_read: dict[Node, int]
    first_write: dict[Node, int]
    """Stages, from which the plan knows whether an output may take an argument's memory."""
