"""Decoding step by step: what a decoder's layers see in the place of all positions at once.

In training, attention looks from every position of a sequence to those before it. In use, the
tokens come one after another, and the keys and values of those before are kept. The layers are the
same functions with the same parameters; only where keys and values come from differs:

    a node             all positions of it: projected here and now (training, the encoder)
    `StepMemory`       those of earlier steps, kept in states, and the new ones beside them
    `KeptMemory`       computed once before the first step, and given to each step as inputs
    `Recorder`         projected from a node, and noted down for a `KeptMemory`

Keys and values lie in numbered slots, `[batch, head, slot, feature]`, in the order in which they
were computed; those of a head lie side by side, as that is how attention reads them. Which slots a
new position may look at is said by the input `visible`: so the rows of a beam share the slots of
their common past, and nothing is moved when they change places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from graphgrad.graph import Node, input, state
from graphgrad.graph.scope import scoped
from graphgrad.graph.types import DType
from graphgrad.ops import broadcast_to, expand_dims, reshape, take_along_axis, write_rows

Projection = Callable[[Node], Node]


@runtime_checkable
class Memory(Protocol):
    """Where an attention's keys and values come from, where that is not a node's positions."""

    def recall(self, name: str, heads: int, width: int, dtype: DType, project: Projection) -> Node:
        """All keys or all values (`name`) [batch, head, slot, width], declared in the attention's
        scope. `project` makes them of the positions that they belong to."""


@dataclass(frozen=True)
class StepSizes:
    """The sizes of a step, which are part of its program."""

    batch: int
    """Sentences."""
    rows: int
    """New positions of each: 1, or one for each row of a beam, or those of a prompt."""
    slots: int
    """Room for the keys and values of each sentence."""
    prompt: bool = False
    """Whether the new positions follow each other, so that only the last gives logits."""


class Step:
    """One step of decoding: its inputs, and the states with their updates.

    `token` and `position` [batch, row] are the new tokens and where they stand in their sequences;
    `slot` [batch, row] is where their keys and values go, `visible` [batch, row, slot] what they
    look at, their own slot included.
    """

    def __init__(self, sizes: StepSizes) -> None:
        rows = (sizes.batch, sizes.rows)
        self.sizes = sizes
        self.token = input("token", rows, "int32")
        self.position = input("position", rows, "int32")
        self.slot = input("slot", rows, "int32")
        self.visible = input("visible", (*rows, sizes.slots), "bool")
        self.last = input("last", sizes.batch, "int32") if sizes.prompt else None
        """Of a prompt, the row of each sentence that is its last."""
        self.updates: dict[Node, Node] = {}

    def mask(self, name: str = "step_mask") -> Node:
        """What each new position looks at, for all heads: [batch, 1, query, slot]."""
        return expand_dims(self.visible, 1, name=name)

    def slots_of(self, heads: int) -> Node:
        """The slots of the new positions, once for each head: [batch · head, row]."""
        shape = (self.sizes.batch, heads, self.sizes.rows)
        return reshape(broadcast_to(expand_dims(self.slot, 1), shape), (-1, self.sizes.rows))

    def past(self, x: Node) -> StepMemory:
        """The memory of self-attention at the new positions x [batch, row, feature]."""
        return StepMemory(self, x)

    def kept(self) -> KeptMemory:
        """The memory of attention to what was encoded before the first step."""
        return KeptMemory(self.sizes.batch)

    def wanted(self, x: Node) -> Node:
        """Those of the new positions that a next token is asked for: [batch, row or 1, feature]."""
        if self.last is None:
            return x
        return take_along_axis(x, expand_dims(expand_dims(self.last, 1), 1), axis=1, name="last")


@dataclass(frozen=True)
class StepMemory:
    """Keys and values of all positions so far, kept in states `keys` and `values` [batch · head,
    slot, feature]."""

    step: Step
    x: Node

    def recall(self, name: str, heads: int, width: int, dtype: DType, project: Projection) -> Node:
        """The state, with what belongs to the new positions written into their slots."""
        sizes = self.step.sizes
        each = sizes.batch * heads
        kept = state(f"{name}s", (each, sizes.slots, width), dtype=dtype)
        new = reshape(project(self.x), (each, sizes.rows, width))
        written = write_rows(kept, new, self.step.slots_of(heads), name=f"{name}s_so_far")
        self.step.updates[kept] = written
        return reshape(written, (sizes.batch, heads, sizes.slots, width))


@dataclass(frozen=True)
class KeptMemory:
    """Keys and values that are inputs, under the names that a `Recorder` noted them by."""

    batch: int

    def recall(self, name: str, heads: int, width: int, dtype: DType, project: Projection) -> Node:
        """The input."""
        return input(f"{name}s", (self.batch, heads, "source", width), dtype)


class Recorder:
    """Keys and values of a node's positions, noted down by their names."""

    def __init__(self, memory: Node) -> None:
        self.memory = memory
        self.found: dict[str, Node] = {}

    def recall(self, name: str, heads: int, width: int, dtype: DType, project: Projection) -> Node:
        """What the projection gives."""
        rows = project(self.memory)
        self.found[scoped(f"{name}s")] = rows
        return rows
