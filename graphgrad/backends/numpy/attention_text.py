"""Renders attention as a call of its kernel: a short text, sizes and the addresses of arrays.

    def kernel(first: int64, last: int64, arguments: int64):
        given = array(arguments, int64, 29)
        form = (64, 64, float32(0.125), True, 0)           features, scale, causal, kind of mask
        drawn = (False, int64(0), int64(0), 0, float32(1.0))                             dropout
        attention_values(first, last, given, form, drawn, (True, True))

What it calls is `graphgrad/loops/library/attention.py`, or attention_delta.py. Features, masks and
dropout are part of the text, so LLVM leaves out what this attention does not have; lengths, batches
and strides are arguments, so batches of all sizes share the code. A block of the call is a block of
queries of one head, or for the deltas a head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from graphgrad.backends.arguments import Address, KernelArgument, LoopText
from graphgrad.backends.source import AttentionCall
from graphgrad.graph import Node
from graphgrad.ops import dot_product_attention
from graphgrad.ops.attention import attention_delta, attention_statistics
from graphgrad.ops.attention_arrays import options_of
from graphgrad.philox import dropout_scale, dropout_threshold
from graphgrad.plan import Step

LANES = 32
"""Queries of a block, as in loops/library/attention.py."""
NO_MASK, MASK_OF_KEYS, MASK_OF_PAIRS = range(3)
"""Kinds of masks, as in loops/library/attention.py."""
NOTHING = (0, 0, 0, 0)
"""The words of an array that a kernel does not use."""
_CALL = """def kernel(first: int64, last: int64, arguments: int64):
    given = array(arguments, int64, {words})
    form = ({width}, {value_width}, float32({scale}), {causal}, {mask})
    drawn = ({dropped}, {seed}, {step}, {limit}, float32({kept}))
    {function}(first, last, given, form, drawn, ({wanted}))
"""


def render_attention(
    step: Step, arrays: Mapping[Node, np.ndarray], first_row: int
) -> AttentionCall:
    """The call that computes the step; `arrays` are the layouts of values, `first_row` is its row
    of the call table."""
    return _Renderer(step, arrays).call(first_row)


class _Renderer:
    def __init__(self, step: Step, arrays: Mapping[Node, np.ndarray]) -> None:
        self.step, self.arrays = step, arrays
        self.nodes: list[Node] = []
        """What has an address, in the order of the numbers."""
        self.by_operation = {node.operation: node for node in step.group.nodes}
        self.by_place = {node.attributes.get("to"): node for node in step.group.nodes}
        self.backward = attention_delta in self.by_operation
        values = self.by_operation.get(dot_product_attention)
        self.main = step.group.nodes[-1] if self.backward or values is None else values
        floats = {attention_delta: 6, attention_statistics: 2}.get(self.main.operation, 3)
        self.floats, self.options = self.main.heads[:floats], options_of(self.main.heads[floats:])
        query, key = (head.type.sizes for head in self.floats[:2])
        self.batch = math.prod(query[:-2])
        self.inner = query[-3] if len(query) > 2 else 1
        self.queries, self.keys, self.width = query[-2], key[-2], query[-1]
        self.value_width = self.floats[2].type.sizes[-1] if floats > 2 else 0

    def call(self, first_row: int) -> AttentionCall:
        """The call."""
        blocks = -(-self.queries // LANES)
        arguments = [
            *(blocks, self.queries, self.keys, self.inner, self.main.attributes.get("stream", 0)),
            *map(self._address, (self.options.seed, self.options.step)),
            *self._mask(),
            *self._arrays(),
        ]
        text = self._text(len(arguments))
        pairs = self.batch * self.queries * self.keys
        work = pairs * (self.width + self.value_width) * (2 if self.backward else 1)
        count = self.batch if self.backward else self.batch * blocks
        kernel = LoopText(text, tuple(arguments))
        return AttentionCall(self.step, tuple(self.nodes), kernel, count, work, first_row)

    def _address(self, node: Node | None) -> KernelArgument:
        """The address of a value, or 0 where there is none."""
        if node is None:
            return 0
        if node not in self.nodes:
            self.nodes.append(node)
        return Address(self.nodes.index(node))

    def _heads(self, node: Node | None) -> tuple[KernelArgument, ...]:
        """Address of an array [outer, inner, row, feature], and its strides, in elements."""
        if node is None:
            return NOTHING
        strides = [each // node.dtype.itemsize for each in self.arrays[node].strides[:-1]]
        return (self._address(node), *[0] * (3 - len(strides)), *strides)

    def _arrays(self) -> list[KernelArgument]:
        """The words from the statistics on."""
        statistics = self.by_operation.get(attention_statistics)
        rows: list[Node | None] = [*self.floats, self.by_operation.get(dot_product_attention)]
        if self.backward:
            statistics = self.floats[4]
            sent = [self.by_place.get(to) for to in ("query", "key", "value")]
            rows = [*self.floats[:4], self.floats[5], *sent]
        elif len(self.floats) < 3:
            rows = [*self.floats, None, None]
        return [self._address(statistics), *(word for node in rows for word in self._heads(node))]

    def _mask(self) -> tuple[KernelArgument, ...]:
        """Address of the mask, and its strides in bytes."""
        mask = self.options.mask
        if mask is None:
            return (0, *NOTHING)
        rank = self.main.heads[0].rank
        wanted = (*self.main.heads[0].type.sizes[:-1], self.keys)
        array = self.arrays[mask]
        seen = np.broadcast_to(array, wanted).strides
        return (self._address(mask), *[0] * (4 - rank), *seen)

    def _text(self, words: int) -> str:
        attributes, options = self.main.attributes, self.options
        dropped = options.seed is not None
        rate = attributes.get("rate", 0.0) if dropped else 0.0
        mask = NO_MASK
        if options.mask is not None:
            by_key = options.mask.rank < 2 or options.mask.type.sizes[-2] == 1
            mask = MASK_OF_KEYS if by_key or self.queries == 1 else MASK_OF_PAIRS
        if self.backward:
            function = "attention_deltas"
            wanted = [to in self.by_place for to in ("query", "key", "value")]
        else:
            function = "attention_values"
            operations = (dot_product_attention, attention_statistics)
            wanted = [operation in self.by_operation for operation in operations]
        return _CALL.format(
            words=words,
            seed=self._number(options.seed, 5),
            step=self._number(options.step, 6),
            width=self.width,
            value_width=self.value_width,
            scale=repr(float(attributes["scale"])),
            causal=attributes["causal"],
            mask=mask,
            dropped=dropped,
            limit=dropout_threshold(rate),
            kept=repr(dropout_scale(rate)),
            function=function,
            wanted=", ".join(map(str, wanted)),
        )

    def _number(self, node: Node | None, word: int) -> str:
        if node is None:
            return "int64(0)"
        return f"int64(array(given[{word}], {node.dtype}, 1)[0])"
