"""Launches of attention and of its deltas, by our own kernels (kernels/attention_*.cu).

One launch computes values and statistics, another the deltas of keys and values; the plan has them
in one step (fusion/joint.py). What a step does not want goes to scratch, or is left out of the
kernel's text. Queries, keys and values are read as they lie, with any distance between rows and
heads; what lies otherwise is copied before.

A tile has 64 rows and columns, or 32 where there are fewer, for wide heads and for float64: shared
memory of a block stays below 48 KiB, its numbers fit the registers of 256 threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.backends.cupy.expressions import number
from graphgrad.backends.cupy.kernel_files import kernel_text
from graphgrad.backends.cupy.launches import Array, Pointer, Word
from graphgrad.backends.cupy.lowering import Lowering, ordered
from graphgrad.graph import Node, TensorType
from graphgrad.ops import dot_product_attention
from graphgrad.ops.attention import attention_delta, attention_statistics
from graphgrad.ops.attention_arrays import options_of, working_dtype
from graphgrad.philox import dropout_scale, dropout_threshold

BLOCK = 256
LANES = 16
"""Threads that have the columns of a row of a tile."""
PIECE = 32
"""Features that are staged at once; attention.cuh has the same number."""
PAD = 4
WIDE = 128
"""From more features on, tiles are the small ones."""
ROWS_AT_ONCE = 8
"""Queries of a block that sums up Σ δ · o."""

NOTHING: Word = 0
"""The address of what a kernel does not read."""


@dataclass(frozen=True)
class Heads:
    """Where something lies for each head: [outer, inner, row, feature]."""

    array: Array

    @property
    def strides(self) -> tuple[int, int, int]:
        """Distances in elements: of the two axes of heads, and of the rows."""
        outer, inner, row, _ = (each // self.array.dtype.itemsize for each in self.array.strides)
        return outer, inner, row


@dataclass(frozen=True)
class Tiles:
    """The sizes of one attention, and how kernels divide them."""

    outer: int
    inner: int
    queries: int
    keys: int
    width: int
    value_width: int
    number: np.dtype

    @property
    def heads(self) -> int:
        return self.outer * self.inner

    @property
    def each(self) -> int:
        """Rows of a tile for each thread of a line, and columns for each lane."""
        large = self.number.itemsize == 4 and max(self.width, self.value_width) <= WIDE
        return 4 if large and max(self.queries, self.keys) > 2 * LANES else 2

    def count(self, rows: int) -> int:
        """Tiles of so many rows."""
        return -(-rows // (LANES * self.each))

    def words(self) -> dict[str, str]:
        """What the texts of kernels say of it."""
        vectors = {"": _vector(self.width), "value_": _vector(self.value_width)}
        size, staged = LANES * self.each, 2 * LANES * self.each * (PIECE + PAD)
        found = {"rows": str(self.each), "columns": str(self.each)}
        for kind, width in (("", self.width), ("value_", self.value_width)):
            chunk = LANES * vectors[kind]
            found[f"{kind}width"] = str(width)
            found[f"{kind}vector"] = str(vectors[kind])
            found[f"{kind}sums"] = str(-(-width // chunk) * vectors[kind])
            staged = max(staged, size * (chunk + PAD))
        return found | {"staged": str(staged), "number": str(self.number)}


def _vector(width: int) -> int:
    """Columns of a result that lie together and belong to one thread."""
    return 4 if width > 2 * LANES else 2 if width > LANES else 1


def attention(lowering: Lowering, nodes: Sequence[Node]) -> None:
    """The launches of values and statistics, or of the deltas, of one attention."""
    if nodes[-1].operation is attention_delta:
        _Backward(lowering, nodes).add()
    else:
        _forward(lowering, nodes)


class _Attention:
    """What all launches of one attention have in common."""

    def __init__(self, lowering: Lowering, node: Node, floats: Sequence[Node]) -> None:
        self.lowering, self.node = lowering, node
        query, key = (its.type.sizes for its in floats[:2])
        value = floats[2].type.sizes if len(floats) > 2 else key
        rest = node.heads[len(floats) if node.operation is not attention_delta else 6 :]
        self.options, self.attributes = options_of(rest), node.attributes
        outer, inner = _axes(query[:-2])
        self.tiles = Tiles(
            *(outer, inner, query[-2], key[-2], query[-1], value[-1]),
            working_dtype(node.heads[0].dtype),
        )

    def read(self, node: Node) -> Heads:
        """A head of the operation as kernels read it."""
        array = self.lowering.array(node)
        apart = array.strides[-1] != array.dtype.itemsize and array.shape[-1] > 1
        if apart or len(array.shape) > 4:
            array = self.lowering.contiguous(self.node, array)
        return self._four_axes(array)

    def written(self, node: Node) -> tuple[Heads, Array | None]:
        """Where a kernel writes a result, and what has to be copied to its place afterwards."""
        array = self.lowering.array(node)
        heads = self._four_axes(array) if len(array.shape) <= 4 else None
        if heads is not None and array.strides[-1] == array.dtype.itemsize:
            return heads, None
        made = self.lowering.scratch(node.type)
        return self._four_axes(made), array

    def copied(self, node: Node, heads: Heads, target: Array | None) -> None:
        """Copies a result to where it belongs, if it is elsewhere."""
        if target is not None:
            source = ordered(heads.array.memory, heads.array.offset, node.type)
            self.lowering.copy(node, source, target)

    def _four_axes(self, array: Array) -> Heads:
        rows, size = array.shape[-2:], array.dtype.itemsize
        outer, inner = _axes(array.shape[:-2])
        strides = array.strides[:-2]
        if len(strides) > 2:  # these lie in order
            strides = (0, rows[0] * rows[1] * size)
        strides = (*[0] * (2 - len(strides)), *strides, *array.strides[-2:])
        shape = (outer, inner, *rows)
        return Heads(Array(array.memory, array.offset, array.dtype, shape, strides))

    def mask(self) -> tuple[list[Word], Word]:
        """The distances of a mask in memory, and its address."""
        mask, tiles = self.options.mask, self.tiles
        if mask is None:
            return [0] * 4, NOTHING
        array = self.lowering.array(mask)
        rank = self.node.heads[0].rank
        sizes = (*self.node.heads[0].type.sizes[:-1], tiles.keys)
        strides = (*[0] * (rank - len(array.shape)), *array.strides)
        shape = (*[1] * (rank - len(array.shape)), *array.shape)
        seen = tuple(
            stride if its == size else 0
            for its, size, stride in zip(shape, sizes, strides, strict=True)
        )
        if rank > 4:
            whole = Array(array.memory, array.offset, array.dtype, sizes, seen)
            found = self.lowering.scratch(TensorType(sizes, array.dtype))
            self.lowering.copy(self.node, whole, found)
            return [0, tiles.queries * tiles.keys, tiles.keys, 1], found.read
        return [*[0] * (4 - rank), *seen], array.read

    def seeds(self) -> list[Word]:
        """The addresses of seed and step."""
        if self.options.seed is None:
            return [NOTHING, NOTHING]
        return [self.lowering.array(each).read for each in (self.options.seed, self.options.step)]

    def text(self, name: str, **words: bool) -> str:
        """The text of a kernel for this attention."""
        attributes, options, kind = self.attributes, self.options, self.tiles.number
        rate = attributes.get("rate", 0.0) if options.seed is not None else 0.0
        flags = words | {
            "masked": options.mask is not None,
            "causal": attributes["causal"],
            "dropped": options.seed is not None,
        }
        seeds = {"seed": options.seed, "step": options.step}
        return kernel_text(
            name,
            element=self.node.heads[0].dtype,
            scale=number(attributes["scale"], kind),
            threshold=f"{dropout_threshold(rate)}u",
            kept=number(dropout_scale(rate), kind),
            **{what: "int64" if its is None else its.dtype for what, its in seeds.items()},
            **{what: str(its).lower() for what, its in flags.items()},
            **self.tiles.words(),
        )

    def launch(self, text: str, rows: int, words: Sequence[Word], nodes: Sequence[Node]) -> None:
        """A kernel with a block for each tile of so many rows of each head."""
        tiles = self.tiles
        count = tiles.count(rows)
        sizes = (tiles.queries, tiles.keys, count, tiles.inner)
        grid = count * tiles.heads
        self.lowering.launch(self.node, text, grid, (*sizes, *words), BLOCK, tuple(nodes))

    def numbers(self) -> Array:
        """Scratch with one number for each query."""
        sizes = (self.tiles.heads, self.tiles.queries)
        return self.lowering.scratch(TensorType(sizes, self.tiles.number))


def _axes(sizes: Sequence[int]) -> tuple[int, int]:
    """Two axes of heads for any number of axes."""
    if len(sizes) > 2:
        return 1, int(np.prod(sizes, dtype=np.int64))
    outer, inner = (*[1] * (2 - len(sizes)), *sizes)
    return outer, inner


def _forward(lowering: Lowering, nodes: Sequence[Node]) -> None:
    by_operation = {node.operation: node for node in nodes}
    values = by_operation.get(dot_product_attention)
    statistics = by_operation.get(attention_statistics)
    main = values if values is not None else statistics
    assert main is not None
    floats = main.heads[: 3 if values is not None else 2]
    its = _Attention(lowering, main, floats)
    read = [its.read(node) for node in floats]
    mask, mask_at = its.mask()
    heads, target = its.written(values) if values is not None else (read[0], None)
    value = read[-1]
    found = its.numbers() if statistics is None else lowering.array(statistics)
    stream = its.attributes.get("stream", 0)
    words: list[Word] = [
        *(*read[0].strides, *read[1].strides, *value.strides, *heads.strides, *mask, stream),
        *(read[0].array.read, read[1].array.read, value.array.read, mask_at, *its.seeds()),
        heads.array.written if values is not None else NOTHING,
        found.written,
    ]
    text = its.text("attention_values", values=values is not None)
    its.launch(text, its.tiles.queries, words, nodes)
    if values is not None:
        its.copied(values, heads, target)


class _Backward:
    """The launches of the deltas of one attention."""

    def __init__(self, lowering: Lowering, nodes: Sequence[Node]) -> None:
        self.lowering = lowering
        self.nodes: Mapping[str, Node] = {node.attributes["to"]: node for node in nodes}
        first = nodes[-1]
        self.its = _Attention(lowering, first, first.heads[:3])
        self.read = [self.its.read(first.heads[place]) for place in (0, 1, 2, 5)]
        self.values = self.its.read(first.heads[3])
        self.statistics = lowering.contiguous(first, lowering.array(first.heads[4]))
        self.mask, self.mask_at = self.its.mask()

    def add(self) -> None:
        """Adds them: Σ δ · o of each query, then the deltas of queries, then of keys and values."""
        rows: Word = NOTHING
        if "query" in self.nodes or "key" in self.nodes:
            rows = self._rows()
        if "query" in self.nodes:
            self._to_query(rows)
        if "key" in self.nodes or "value" in self.nodes:
            self._to_keys(rows)

    def _rows(self) -> Pointer:
        its, found, delta = self.its, self.its.numbers(), self.read[3]
        tiles = its.tiles
        count = tiles.heads * tiles.queries
        words: list[Word] = [
            *(count, tiles.queries, tiles.inner, *self.values.strides, *delta.strides),
            *(self.values.array.read, delta.array.read, found.written),
        ]
        text = its.text("attention_rows")
        node = next(iter(self.nodes.values()))
        self.lowering.launch(node, text, -(-count // ROWS_AT_ONCE), words, BLOCK)
        return found.read

    def _common(self) -> list[Word]:
        return [stride for heads in self.read for stride in heads.strides]

    def _addresses(self, rows: Word) -> list[Word]:
        floats = [heads.array.read for heads in self.read]
        return [*floats, self.statistics.read, rows, self.mask_at, *self.its.seeds()]

    def _to_query(self, rows: Word) -> None:
        its, node = self.its, self.nodes["query"]
        heads, target = its.written(node)
        stream = its.attributes["stream"]
        words = [*self._common(), *heads.strides, *self.mask, stream, *self._addresses(rows)]
        text = its.text("attention_delta_query")
        its.launch(text, its.tiles.queries, [*words, heads.array.written], [node])
        its.copied(node, heads, target)

    def _to_keys(self, rows: Word) -> None:
        its, made = self.its, {}
        for to in ("key", "value"):
            if to in self.nodes:
                made[to] = its.written(self.nodes[to])
        strides: list[Word] = []
        addresses: list[Word] = []
        for to in ("key", "value"):
            strides += made[to][0].strides if to in made else (0, 0, 0)
            addresses.append(made[to][0].array.written if to in made else NOTHING)
        words = [*self._common(), *strides, *self.mask, its.attributes["stream"]]
        text = its.text("attention_delta_keys", key="key" in made, value="value" in made)
        nodes = [self.nodes[to] for to in made]
        words += [*self._addresses(rows), *addresses]
        its.launch(text, its.tiles.keys, words, nodes)
        for to, (heads, target) in made.items():
            its.copied(self.nodes[to], heads, target)
