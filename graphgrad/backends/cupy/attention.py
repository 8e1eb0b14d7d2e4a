"""Launches of attention and of its deltas, by our own kernels (kernels/attention_*.cu): on tensor
cores for numbers of 16 bits, which they multiply and add up in float32 (attention_tiles.py).

One launch computes values and statistics, another the deltas of keys and values; the plan has them
in one step (fusion/joint.py). What a step does not want goes to scratch, or is left out of the
kernel's text. Queries, keys and values are read as they lie, with any distance between rows and
heads; what lies otherwise is copied before.

A tile has 64 rows and columns, or 32 where there are fewer, for wide heads and for float64: shared
memory of a block stays below 48 KiB, its numbers fit the registers of 256 threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from graphgrad.backends.cupy.attention_tiles import Heads, Sizes, TensorTiles, Tiles, tiles_of
from graphgrad.backends.cupy.expressions import number
from graphgrad.backends.cupy.kernel_files import kernel_text
from graphgrad.backends.cupy.launches import Array, Word
from graphgrad.backends.cupy.lowering import Lowering, ordered
from graphgrad.graph import Node, TensorType
from graphgrad.ops import dot_product_attention
from graphgrad.ops.attention import attention_delta, attention_statistics
from graphgrad.ops.attention_arrays import options_of, working_dtype
from graphgrad.philox import dropout_scale, dropout_threshold

BLOCK = 256
ROWS_AT_ONCE = 8
"""Queries of a block that sums up Σ δ · o."""

NOTHING: Word = 0
"""The address of what a kernel does not read."""


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
        self.sizes = Sizes(outer, inner, query[-2], key[-2], query[-1], value[-1])
        self.number = working_dtype(node.heads[0].dtype)
        self.mask, self.mask_at = self._mask()

    def tiles(self, fixed: int) -> Tiles | TensorTiles:
        """The tiles of a kernel that keeps so many tiles of rows."""
        by_key = self.options.mask is not None and self.mask[2] == 0
        marked = "keys" if by_key else "pairs" if self.options.mask is not None else ""
        marked = marked if self.options.seed is None else "pairs"
        dtype, asked = self.node.heads[0].dtype, self.lowering.on_tensor_cores
        return tiles_of(self.sizes, dtype, fixed, marked, asked)

    @property
    def stream(self) -> int:
        """The stream of random numbers of dropout."""
        return int(self.attributes.get("stream", 0))

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

    def _mask(self) -> tuple[list[Word], Word]:
        """The distances of a mask in memory, and its address."""
        mask, its_sizes = self.options.mask, self.sizes
        if mask is None:
            return [0] * 4, NOTHING
        array = self.lowering.array(mask)
        rank = self.node.heads[0].rank
        sizes = (*self.node.heads[0].type.sizes[:-1], its_sizes.keys)
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
            return [0, its_sizes.queries * its_sizes.keys, its_sizes.keys, 1], found.read
        return [*[0] * (4 - rank), *seen], array.read

    def seeds(self) -> list[Word]:
        """The addresses of seed and step."""
        if self.options.seed is None:
            return [NOTHING, NOTHING]
        return [self.lowering.array(each).read for each in (self.options.seed, self.options.step)]

    def text(self, name: str, **words: str | bool) -> str:
        """The text of a kernel for this attention."""
        attributes, options, kind = self.attributes, self.options, self.number
        rate = attributes.get("rate", 0.0) if options.seed is not None else 0.0
        flags = {
            "masked": options.mask is not None,
            "causal": attributes["causal"],
            "dropped": options.seed is not None,
        }
        seeds = {"seed": options.seed, "step": options.step}
        return kernel_text(
            name,
            element=self.node.heads[0].dtype,
            number=str(kind),
            scale=number(attributes["scale"], kind),
            binary_scale=number(attributes["scale"] / math.log(2), kind),
            threshold=f"{dropout_threshold(rate)}u",
            kept=number(dropout_scale(rate), kind),
            **{what: "int64" if its is None else its.dtype for what, its in seeds.items()},
            **{what: str(its).lower() for what, its in (flags | words).items()},
            **self.sizes.words(),
        )

    def launch(
        self,
        name: str,
        tiles: Tiles | TensorTiles,
        strides: Mapping[str, Heads | None],
        addresses: Sequence[Word],
        nodes: Sequence[Node],
        **words: bool,
    ) -> None:
        """A kernel with a block for each tile of each head: its name after that of the tiles, what
        it is told the strides of, by their names, and its addresses."""
        rows = self.sizes.keys if "to_key" in strides else self.sizes.queries
        count = -(-rows // tiles.rows)
        lists = [(0, 0, 0) if its is None else its.strides for its in strides.values()]
        given: list[Word] = [self.sizes.queries, self.sizes.keys, count, self.sizes.inner]
        given += [*(stride for each in lists for stride in each), *self.mask, self.stream]
        moved = [its for its in strides.values() if its is not None]
        text = self.text(
            f"{tiles.prefix}_{name}", strides=_parameters(strides), **tiles.words(moved), **words
        )
        grid = count * self.sizes.heads
        self.lowering.launch(
            self.node, text, grid, (*given, *addresses), tiles.threads, tuple(nodes)
        )

    def numbers(self) -> Array:
        """Scratch with one number for each query."""
        sizes = (self.sizes.heads, self.sizes.queries)
        return self.lowering.scratch(TensorType(sizes, self.number))


def _axes(sizes: Sequence[int]) -> tuple[int, int]:
    """Two axes of heads for any number of axes."""
    if len(sizes) > 2:
        return 1, int(np.prod(sizes, dtype=np.int64))
    outer, inner = (*[1] * (2 - len(sizes)), *sizes)
    return outer, inner


def _parameters(strides: Iterable[str]) -> str:
    """The parameters that all kernels begin with: sizes, and the strides of what they read and
    write."""
    names = ["queries", "keys", "tiles", "inner"]
    names += [f"{name}_{axis}" for name in strides for axis in ("outer", "inner", "row")]
    names += [f"mask_{axis}" for axis in ("outer", "inner", "row", "key")]
    return "\n".join(f"    const long long {name}," for name in names)


def _forward(lowering: Lowering, nodes: Sequence[Node]) -> None:
    by_operation = {node.operation: node for node in nodes}
    values = by_operation.get(dot_product_attention)
    statistics = by_operation.get(attention_statistics)
    main = values if values is not None else statistics
    assert main is not None
    floats = main.heads[: 3 if values is not None else 2]
    its = _Attention(lowering, main, floats)
    read = [its.read(node) for node in floats]
    heads, target = its.written(values) if values is not None else (read[0], None)
    query, key, value = read[0], read[1], read[-1]
    found = its.numbers() if statistics is None else lowering.array(statistics)
    addresses: list[Word] = [
        *(query.array.read, key.array.read, value.array.read, its.mask_at, *its.seeds()),
        heads.array.written if values is not None else NOTHING,
        found.written,
    ]
    strides = {"query": query, "key": key, "value": value, "out": heads}
    its.launch("values", its.tiles(1), strides, addresses, nodes, values=values is not None)
    if values is not None:
        its.copied(values, heads, target)


class _Backward:
    """The launches of the deltas of one attention."""

    def __init__(self, lowering: Lowering, nodes: Sequence[Node]) -> None:
        self.lowering = lowering
        self.nodes: Mapping[str, Node] = {node.attributes["to"]: node for node in nodes}
        first = nodes[-1]
        self.its = _Attention(lowering, first, first.heads[:3])
        names = {"query": 0, "key": 1, "value": 2, "delta": 5}
        self.read = {name: self.its.read(first.heads[place]) for name, place in names.items()}
        self.values = self.its.read(first.heads[3])
        self.statistics = lowering.contiguous(first, lowering.array(first.heads[4]))
        self.tiles = self.its.tiles(2)

    def add(self) -> None:
        """Adds them: Σ δ · o of each query, then the deltas of queries, then of keys and values."""
        rows = self.its.numbers()
        together = isinstance(self.tiles, TensorTiles) and "query" in self.nodes
        if not together and ("query" in self.nodes or "key" in self.nodes):
            self._rows(rows)
        if "query" in self.nodes:
            self._to_query(rows)
        if "key" in self.nodes or "value" in self.nodes:
            self._to_keys(rows)

    def _rows(self, found: Array) -> None:
        its, delta, sizes = self.its, self.read["delta"], self.its.sizes
        count = sizes.heads * sizes.queries
        words: list[Word] = [
            *(count, sizes.queries, sizes.inner, *self.values.strides, *delta.strides),
            *(self.values.array.read, delta.array.read, found.written),
        ]
        text = its.text("attention_rows")
        node = next(iter(self.nodes.values()))
        self.lowering.launch(node, text, -(-count // ROWS_AT_ONCE), words, BLOCK)

    def _floats(self) -> list[Word]:
        return [heads.array.read for heads in self.read.values()]

    def _others(self) -> list[Word]:
        return [self.its.mask_at, *self.its.seeds()]

    def _to_query(self, rows: Array) -> None:
        its, node = self.its, self.nodes["query"]
        heads, target = its.written(node)
        strides = {**self.read, "out": heads}
        addresses = [*self._floats(), self.statistics.read, rows.read]
        if isinstance(self.tiles, TensorTiles):
            strides = {**self.read, "values": self.values, "out": heads}
            read = self.values.array.read, self.statistics.read
            addresses = [*self._floats(), *read, rows.written]
        addresses += [*self._others(), heads.array.written]
        its.launch("delta_query", self.tiles, strides, addresses, [node])
        its.copied(node, heads, target)

    def _to_keys(self, rows: Array) -> None:
        its, made = self.its, {}
        for to in ("key", "value"):
            if to in self.nodes:
                made[to] = its.written(self.nodes[to])
        heads = {f"to_{to}": made[to][0] if to in made else None for to in ("key", "value")}
        addresses = [*self._floats(), self.statistics.read]
        addresses += [rows.read if "key" in made else NOTHING, *self._others()]
        addresses += [NOTHING if each is None else each.array.written for each in heads.values()]
        nodes = [self.nodes[to] for to in made]
        wanted = {to: to in made for to in ("key", "value")}
        its.launch("delta_keys", self.tiles, {**self.read, **heads}, addresses, nodes, **wanted)
        for to, (its_heads, target) in made.items():
            its.copied(self.nodes[to], its_heads, target)
