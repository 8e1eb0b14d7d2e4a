"""A program of the device as data: what is launched, in which order, over which memory.

One stream runs the actions one after another, so an action sees all that those before it wrote.
Memory is named by what it is: the arena, the scratch of single actions, a leaf of the graph, a table
of rows. Where each lies on a device is known when a program is bound there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphgrad.backends.arguments import Table
from graphgrad.graph import Node

ARENA = "arena"
SCRATCH = "scratch"
"""What an action and those that follow it for the same node need meanwhile."""
REFUSED = "refused"
"""int32, one for each action of a program; it is set where the action met a bad index."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """An address: so many bytes into a stretch of memory."""

    memory: str | Node | Table
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Array:
    """Numbers in memory; `strides` count bytes."""

    pointer: Pointer
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


Word = int | Pointer


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel of the program, `grid` blocks of `block` threads, and its parameters."""

    node: Node
    kernel: str
    grid: int
    block: int
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product, which a library computes."""

    node: Node
    out: Array
    heads: tuple[Array, Array]


@dataclass(frozen=True, slots=True)
class Computed:
    """An operation that the array module computes as its block says."""

    node: Node
    out: Array
    heads: tuple[Array, ...]
    scratch: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Guard:
    """A value that has to be finite for what comes behind it to happen."""

    node: Node
    value: Array


Action = Launch | Product | Computed | Guard


@dataclass(frozen=True, eq=False)
class DeviceProgram:
    """What runs for a plan: its actions in order, the texts of its kernels by name, and the bytes
    of the memory that is no leaf's."""

    actions: tuple[Action, ...]
    kernels: Mapping[str, str]
    arena_bytes: int
    scratch_bytes: int
    outputs: Mapping[str, Array]
    leaves: Mapping[Node, Array]

    def __str__(self) -> str:
        head = (
            f"{len(self.actions)} actions, {len(self.kernels)} kernels, arena "
            f"{self.arena_bytes:,} bytes, scratch {self.scratch_bytes:,} bytes"
        )
        return "\n".join([head, *map(_line, self.actions)])


def _line(action: Action) -> str:
    what = type(action).__name__.lower()
    if isinstance(action, Launch):
        what = f"{action.kernel}<<<{action.grid}, {action.block}>>>"
    return f"{what:<32} {action.node.operation.name:<16} {action.node.type}"
