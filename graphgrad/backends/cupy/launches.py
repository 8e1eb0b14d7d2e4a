"""A program of the device as data: what is launched, in which order, over which memory.

One stream runs the actions one after another, so an action sees all that those before it wrote.
Memory is named by what it is: the arena, the scratch of single actions, a leaf of the graph, a
table. Where each lies on a device is known when a program is bound there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from graphgrad.backends.arguments import RowTable
from graphgrad.backends.cupy.epilogues import Epilogue
from graphgrad.graph import Node

ARENA = "arena"
NUMBERS = "numbers"
"""The values of one element that would lie in the arena: each has a place of its own, so that what
computes them need not wait for a place to be free."""
SCRATCH = "scratch"
"""What an action needs for those that follow it for the same node."""
WORKSPACE = "workspace"
"""What the library of matrix products writes to while it computes one."""
REFUSED = "refused"
"""int32: first whether the state has to stay as it is, then one for each action that reads indices,
which is set where one of them is bad. All are 0 when a step begins."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A table of the words of many launches: each row the number of its first block, and its
    words."""

    rows: tuple[tuple[Word, ...], ...]


Memory = str | Node | RowTable | Rows


@dataclass(frozen=True, slots=True)
class Pointer:
    """An address so many bytes into a stretch of memory; from there on `reach` bytes are read or
    written."""

    memory: Memory
    offset: int
    reach: int
    written: bool = False

    def meets(self, other: Pointer) -> bool:
        """Whether one of the two writes what the other reads or writes. (Tables are only read.)"""
        return (
            (self.written or other.written)
            and self.memory is other.memory
            and self.offset < other.offset + other.reach
            and other.offset < self.offset + self.reach
        )


Word = int | Pointer
"""A parameter of a kernel; all have 64 bits."""


@dataclass(frozen=True, slots=True)
class Array:
    """Numbers in memory; offset and strides count bytes."""

    memory: Memory
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def read(self) -> Pointer:
        """The address as a parameter of a kernel that reads the array."""
        steps = zip(self.shape, self.strides, strict=True)
        reach = self.dtype.itemsize + sum((size - 1) * stride for size, stride in steps)
        return Pointer(self.memory, self.offset, reach if self.size else 0)

    @property
    def written(self) -> Pointer:
        """The address as a parameter of a kernel that writes the array."""
        read = self.read
        return Pointer(read.memory, read.offset, read.reach, True)


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel of the program, `grid` blocks of `block` threads, and its parameters."""

    nodes: tuple[Node, ...]
    """What it computes for others."""
    kernel: str
    grid: int
    block: int
    words: tuple[Word, ...]

    @property
    def node(self) -> Node:
        """The node that stands for it."""
        return self.nodes[-1]


@dataclass(frozen=True, slots=True)
class Gemm:
    """A matrix product as BLAS takes it (products.py), in elements: of left, right and result."""

    rows: int
    columns: int
    inner: int
    transposed: tuple[bool, bool]
    leading: tuple[int, int, int]
    swapped: bool
    batch: int = 1
    strides: tuple[int, int, int] = (0, 0, 0)
    """From each product of the batch to the next, unless there are `starts`."""
    starts: tuple[tuple[int, int, int], ...] = ()
    """Where each product of the batch begins, if no strides say it."""
    operands: str = "float32"
    """The dtype of left and right."""
    result: str = "float32"
    """The dtype of the result: that of the operands, or float32 for those of 16 bits."""
    adds_in: str = "float32"
    """What products are added up in: float32, tf32 (float32 whose operands lose digits before) or
    float64."""
    alignment: int = 16
    """Bytes of whose multiples all matrices begin at one: 16 or the size of an element."""
    epilogue: Epilogue = Epilogue.DEFAULT
    """What is done to the result in the same launch."""
    vector: str = ""
    """The dtype of the bias, or of the sums."""
    leading_aux: int = 0
    """How far the columns of the auxiliary buffer lie from each other; in bits, of ReLU's."""
    leading_added: int = 0
    """How far the columns of a matrix that is added lie from each other; 0 if none is."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What a product with an epilogue reads and writes beside its heads and its result."""

    vector: Array | None = None
    """The bias, or the sums."""
    aux: Array | None = None
    """What the delta of an activation needs."""
    added: Array | None = None
    """A matrix that is added to the product."""

    def named(self) -> Mapping[str, Array | None]:
        """All of them by name."""
        return {"vector": self.vector, "aux": self.aux, "added": self.added}


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product, which a library computes, with what the epilogue of its gemm does."""

    node: Node
    out: Array
    heads: tuple[Array, ...]
    gemm: Gemm | None
    """As BLAS takes it; None for numbers that BLAS does not know."""
    extras: Extras = field(default=Extras())
    others: tuple[Node, ...] = ()
    """The other products of a batch; arrays have an axis more then."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All products that it computes."""
        return (*self.others, self.node)

    @property
    def pointers(self) -> Iterator[Pointer]:
        """All addresses that it reads or writes."""
        yield self.out.written
        yield from (head.read for head in self.heads)
        vector, aux, added = self.extras.vector, self.extras.aux, self.extras.added
        epilogue = Epilogue.DEFAULT if self.gemm is None else self.gemm.epilogue
        if vector is not None:
            yield vector.written if epilogue.sums else vector.read
        if aux is not None:
            yield aux.read if epilogue.is_delta else aux.written
        if added is not None:
            yield added.read


@dataclass(frozen=True, slots=True)
class Computed:
    """An operation that the array module computes as its block says."""

    node: Node
    out: Array
    heads: tuple[Array, ...]
    scratch: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Guard(Launch):
    """A launch that looks at a value: unless it is finite, and no index was refused so far, what
    comes behind changes no state."""

    value: Array


Action = Launch | Product | Computed


def pointers_of(action: Action) -> Iterator[Pointer]:
    """All addresses that an action reads or writes."""
    if isinstance(action, Launch):
        for word in action.words:
            if isinstance(word, Pointer) and isinstance(word.memory, Rows):
                for row in word.memory.rows:
                    yield from (its for its in row if isinstance(its, Pointer))
            elif isinstance(word, Pointer):
                yield word
    elif isinstance(action, Product):
        yield from action.pointers
    else:
        yield action.out.written
        yield from (head.read for head in action.heads)
        yield from (its.written for its in action.scratch)


@dataclass(frozen=True, eq=False)
class DeviceProgram:
    """What runs for a plan: its actions in order, the texts of its kernels by name, and the bytes
    of the memory that belongs to no leaf."""

    actions: tuple[Action, ...]
    kernels: Mapping[str, str]
    arena_bytes: int
    numbers_bytes: int
    scratch_bytes: int
    refusals: tuple[Node, ...]
    """The nodes that may refuse an index, in the order of their places in `REFUSED`."""
    outputs: Mapping[str, Array]
    leaves: Mapping[Node, Array]
    names: Mapping[str, tuple[str, ...]]
    """Which nodes each kernel computes, by their names in the graph."""
    values: Mapping[Node, Array]
    """Where every value lies that a step of the plan stores, until its memory is used again."""
    workspace_bytes: int = 0

    @property
    def flags(self) -> int:
        """The numbers of `REFUSED`."""
        return 1 + len(self.refusals)

    def __str__(self) -> str:
        head = (
            f"{len(self.actions)} actions, {len(self.kernels)} kernels, arena "
            f"{self.arena_bytes:,} bytes, scratch {self.scratch_bytes:,} bytes"
        )
        return "\n".join([head, *map(_line, self.actions)])


def _line(action: Action) -> str:
    what = type(action).__name__.lower()
    if isinstance(action, Product) and action.gemm is not None:
        parts = [action.gemm.epilogue.name] if action.gemm.epilogue != Epilogue.DEFAULT else []
        parts += ["+ matrix"] if action.extras.added is not None else []
        parts += [f"for {len(action.nodes)}"] if action.others else []
        what = " ".join([what, *parts])
    if isinstance(action, Launch):
        what = f"{action.kernel}<<<{action.grid}, {action.block}>>>"
        table = [word.memory for word in action.words if isinstance(word, Pointer)]
        if isinstance(table[0], Rows):
            what += f" for {len(table[0].rows)}"
    return f"{what:<40} {action.node.operation.name:<16} {action.node.type}"
