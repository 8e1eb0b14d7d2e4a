"""Declares the inputs and states of step-by-step decoding, and where attention gets its keys from.

In training, attention looks from each position of a sequence at those before it, all at once. In
decoding, the tokens are computed one after another, and the keys and values of earlier positions
are stored. The layers are the same functions with the same parameters; only the origin of keys and
values differs:

    a node             computed from all of its positions (training, the encoder)
    `StepMemory`       stored in states by earlier steps; this step writes the new ones beside them
    `KeptMemory`       computed once before the first step; inputs of each step
    `Recorder`         computed from a node, and collected as the outputs that a `KeptMemory` reads

Keys and values are stored in numbered slots, `[batch, head, slot, feature]`, in the order in which
they were computed; those of a head are contiguous, as attention reads them head by head. The input
`visible` masks the slots that a new position may attend to: the rows of a beam share the slots of
their common past, and nothing is copied when they are reordered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from graphgrad.graph import Node, input, state
from graphgrad.graph.scope import scoped
from graphgrad.graph.types import DType
from graphgrad.ops import broadcast_to, expand_dims, reshape, write_rows

Projection = Callable[[Node], Node]
"""Declares the keys or values [batch, head, position, width] of x [batch, position, feature]."""


@runtime_checkable
class Memory(Protocol):
    """A source of keys and values that is not a node: `StepMemory`, `KeptMemory` or `Recorder`.

    `multi_head_attention` takes one as its `memory` and calls `recall` once for the keys and once
    for the values, in the scope of the attention.

    >>> import graphgrad as gg
    >>> isinstance(gg.layers.KeptMemory(batch=2), gg.layers.Memory)
    True
    """

    def recall(self, name: str, heads: int, width: int, dtype: DType, project: Projection) -> Node:
        """The keys (`name` "key") or the values ("value"): [batch, head, slot, width].

        `project` declares them from the positions that they are computed from.
        """


@dataclass(frozen=True)
class StepSizes:
    """The sizes of a decoding step; a program is compiled for each of them.

    >>> import graphgrad as gg
    >>> gg.layers.StepSizes(batch=2, rows=5, slots=32)
    StepSizes(batch=2, rows=5, slots=32)
    """

    batch: int
    """The number of sentences."""
    rows: int
    """New positions of each: 1, or one for each row of a beam, or those of a prompt."""
    slots: int
    """Slots for the keys and values of each sentence."""


class Step:
    """One step of decoding: its inputs, and the states with their updates.

    `token` and `position` [batch, row] are the new tokens and their positions in their sequences;
    `slot` [batch, row] is the slot that their keys and values are written to, and `visible`
    [batch, row, slot] is True at the slots that they attend to, their own included. Declaring the
    attention of a model with `past(x)` as memory and `mask()` as mask fills `updates`.

    >>> import graphgrad as gg
    >>> step = gg.layers.Step(gg.layers.StepSizes(batch=2, rows=1, slots=8))
    >>> print(step.token.type, step.mask().type)
    int32[2, 1] bool[2, 1, 1, 8]
    """

    def __init__(self, sizes: StepSizes) -> None:
        rows = (sizes.batch, sizes.rows)
        self.sizes = sizes
        self.token = input("token", rows, "int32")
        self.position = input("position", rows, "int32")
        self.slot = input("slot", rows, "int32")
        self.visible = input("visible", (*rows, sizes.slots), "bool")
        self.updates: dict[Node, Node] = {}
        """The states of keys and values, each with its value after the step."""

    def mask(self, name: str = "step_mask") -> Node:
        """True where a new position attends to a slot, for all heads: [batch, 1, row, slot]."""
        return expand_dims(self.visible, 1, name=name)

    def slots_of(self, heads: int) -> Node:
        """The slots of the new positions, once for each head: [batch · head, row]."""
        shape = (self.sizes.batch, heads, self.sizes.rows)
        return reshape(broadcast_to(expand_dims(self.slot, 1), shape), (-1, self.sizes.rows))

    def past(self, x: Node) -> StepMemory:
        """The memory of self-attention at the new positions x [batch, row, feature]."""
        return StepMemory(self, x)

    def kept(self) -> KeptMemory:
        """The memory of attention to the source, which is encoded before the first step."""
        return KeptMemory(self.sizes.batch)


@dataclass(frozen=True)
class StepMemory:
    """Keys and values of all positions so far, in the states `keys` and `values`
    [batch · head, slot, feature]; `Step.past` makes one from the new positions x.

    >>> import graphgrad as gg
    >>> step = gg.layers.Step(gg.layers.StepSizes(batch=2, rows=1, slots=8))
    >>> x = gg.input("x", (2, 1, 4))
    >>> y = gg.layers.multi_head_attention(x, step.past(x), step.mask(), heads=2)
    >>> [str(state.type) for state in step.updates]
    ['float32[4, 8, 2]', 'float32[4, 8, 2]']
    """

    step: Step
    x: Node

    def recall(self, name: str, heads: int, width: int, dtype: DType, project: Projection) -> Node:
        """The state after the keys or values of the new positions are written into their slots."""
        sizes = self.step.sizes
        each = sizes.batch * heads
        kept = state(f"{name}s", (each, sizes.slots, width), dtype=dtype)
        new = reshape(project(self.x), (each, sizes.rows, width))
        written = write_rows(kept, new, self.step.slots_of(heads), name=f"{name}s_so_far")
        self.step.updates[kept] = written
        return reshape(written, (sizes.batch, heads, sizes.slots, width))


@dataclass(frozen=True)
class KeptMemory:
    """Keys and values as inputs `keys` and `values` [batch, head, source, feature] of a step.

    They have the names under which a `Recorder` collects them in the encoder's graph.

    >>> import graphgrad as gg
    >>> x = gg.input("x", (2, 1, 8))
    >>> y = gg.layers.multi_head_attention(x, gg.layers.KeptMemory(batch=2), None, heads=2)
    >>> sorted(gg.Graph(y).inputs)
    ['attention.keys', 'attention.values', 'x']
    """

    batch: int

    def recall(self, name: str, heads: int, width: int, dtype: DType, project: Projection) -> Node:
        """The input; `project` is not called."""
        return input(f"{name}s", (self.batch, heads, "source", width), dtype)


class Recorder:
    """Computes keys and values from a node, `memory` [batch, key, feature], and collects them.

    `found` has them by name; as outputs of a graph they are what a `KeptMemory` reads.

    >>> import graphgrad as gg
    >>> x, memory = gg.input("x", ("batch", 1, 8)), gg.input("memory", ("batch", "key", 8))
    >>> recorder = gg.layers.Recorder(memory)
    >>> y = gg.layers.multi_head_attention(x, recorder, None, heads=2)
    >>> {name: str(node.type) for name, node in recorder.found.items()}
    {'attention.keys': 'float32[batch, 2, key, 4]', 'attention.values': 'float32[batch, 2, key, 4]'}
    """

    def __init__(self, memory: Node) -> None:
        self.memory = memory
        self.found: dict[str, Node] = {}

    def recall(self, name: str, heads: int, width: int, dtype: DType, project: Projection) -> Node:
        """The keys or values of the node's positions."""
        rows = project(self.memory)
        self.found[scoped(f"{name}s")] = rows
        return rows
