"""How the kernels of attention divide the queries and keys of a head into tiles.

`Tiles` are those of the kernels for any number (kernels/attention_*.cu): 64 rows and columns, or 32
where there are fewer, for wide heads and for float64; 256 threads.

`TensorTiles` are those of the kernels on tensor cores (kernels/attention_tensor_*.cu) for numbers
of 16 bits in heads of at most 128 features: 16 rows for each warp, as many columns at a time as
shared memory has room for. What is fetched next has a buffer of its own where there is room.

All keep the shared memory of a block below 48 KiB, which every device has without being asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from graphgrad.backends.cupy.launches import Array

LANES = 16
"""Threads that have the columns of a row of a tile."""
PIECE = 32
"""Features that are staged at once; attention.cuh has the same number."""
PAD = 4
WIDE = 128
"""From more features on, tiles are the small ones, and not on tensor cores."""
PACK = 8
"""Numbers of 16 bits that are fetched at once, at most."""
SHARED_BYTES = 48 << 10
SHAPES = ((4, 32, 2), (4, 32, 1), (2, 32, 1))
"""Warps, columns and buffers of a tile on tensor cores: the first that there is room for."""
PART = 16
"""Columns that a kernel of deltas computes at once."""
NARROW = 64
BLOCKS = 4
"""Blocks that share a processor where heads have no more features: 128 registers a thread."""


@dataclass(frozen=True)
class Heads:
    """Where something lies for each head: [outer, inner, row, feature]."""

    array: Array

    @property
    def strides(self) -> tuple[int, int, int]:
        """Distances in elements: of the two axes of heads, and of the rows."""
        outer, inner, row, _ = (each // self.array.dtype.itemsize for each in self.array.strides)
        return outer, inner, row

    @property
    def vector(self) -> int:
        """How many elements can be moved at once, wherever a row begins: 8, 4, 2 or 1."""
        offset = self.array.offset // self.array.dtype.itemsize
        sizes = (*self.array.shape[:3], 0)
        counts = (*self.strides, offset)
        every = [
            self.array.shape[3],
            *(n for size, n in zip(sizes, counts, strict=True) if size != 1),
        ]
        return int(np.gcd.reduce([PACK, *every]))


@dataclass(frozen=True)
class Sizes:
    """Heads, queries, keys and features of one attention."""

    outer: int
    inner: int
    queries: int
    keys: int
    width: int
    value_width: int

    @property
    def heads(self) -> int:
        return self.outer * self.inner

    @property
    def widest(self) -> int:
        """The features of the widest heads."""
        return max(self.width, self.value_width)

    def words(self) -> Mapping[str, str]:
        """What the texts of all kernels say of it."""
        return {"width": str(self.width), "value_width": str(self.value_width)}


@dataclass(frozen=True)
class Tiles:
    """The tiles of the kernels for any number."""

    sizes: Sizes
    number: np.dtype
    prefix = "attention"
    threads = 256

    @property
    def each(self) -> int:
        """Rows of a tile for each thread of a line, and columns for each lane."""
        large = self.number.itemsize == 4 and self.sizes.widest <= WIDE
        return 4 if large and max(self.sizes.queries, self.sizes.keys) > 2 * LANES else 2

    @property
    def rows(self) -> int:
        """Rows of a tile."""
        return LANES * self.each

    def words(self, _: Iterable[Heads]) -> Mapping[str, str]:
        """What the texts of kernels say of it."""
        widths = {"": self.sizes.width, "value_": self.sizes.value_width}
        staged = 2 * self.rows * (PIECE + PAD)
        found = {"rows": str(self.each), "columns": str(self.each)}
        for kind, width in widths.items():
            vector = 4 if width > 2 * LANES else 2 if width > LANES else 1
            chunk = LANES * vector
            found[f"{kind}vector"] = str(vector)
            found[f"{kind}sums"] = str(-(-width // chunk) * vector)
            staged = max(staged, self.rows * (chunk + PAD))
        return found | {"staged": str(staged)}


@dataclass(frozen=True)
class TensorTiles:
    """The tiles of a kernel on tensor cores, `fixed` tiles of rows and two of columns."""

    sizes: Sizes
    fixed: int
    marked: str = ""
    """What has marks: nothing, "keys" or "pairs" of query and key."""
    prefix = "attention_tensor"

    @property
    def stride(self) -> int:
        """The numbers from row to row: an odd multiple of eight."""
        return -(-self.sizes.widest // 16) * 16 + PACK

    @property
    def shape(self) -> tuple[int, int, int]:
        """Warps, columns and buffers."""
        return next(its for its in SHAPES if self.shared_bytes(*its) <= SHARED_BYTES)

    def shared_bytes(self, warps: int, columns: int, buffers: int) -> int:
        """The shared memory of a block with such tiles."""
        rows = 16 * warps
        pairs = columns * rows + PACK * max(columns, rows)
        marks = {"": 0, "keys": rows + PACK, "pairs": pairs}[self.marked]
        numbers = 2 * self.stride * (self.fixed * rows + 2 * buffers * columns)
        return numbers + buffers * (marks + 8 * columns + 2 * PACK)

    @property
    def threads(self) -> int:
        return 32 * self.shape[0]

    @property
    def rows(self) -> int:
        """Rows of a tile."""
        return 16 * self.shape[0]

    def words(self, moved: Iterable[Heads]) -> Mapping[str, str]:
        """What the text of a kernel says of it that reads and writes these."""
        warps, columns, buffers = self.shape
        found = {"threads": 32 * warps, "rows": 16 * warps, "columns": columns, "buffers": buffers}
        found |= {"part": PART, "blocks": BLOCKS if self.sizes.widest <= NARROW else 1}
        found |= {"stride": self.stride, "vector": min(heads.vector for heads in moved)}
        for kind, width in (("", self.sizes.width), ("value_", self.sizes.value_width)):
            found[f"{kind}padded"] = -(-width // 16) * 16
        flags = {
            "marked": bool(self.marked),
            "by_key": self.marked == "keys",
        }
        return {
            **{name: str(its) for name, its in found.items()},
            **{name: str(its).lower() for name, its in flags.items()},
        }


def tiles_of(
    sizes: Sizes,
    dtype: np.dtype,
    fixed: int,
    marked: str,
    on_tensor_cores: Callable[[], bool] = lambda: True,
) -> Tiles | TensorTiles:
    """The tiles of a kernel for this attention; the device is asked only where it matters."""
    if dtype.itemsize == 2 and sizes.widest <= WIDE and on_tensor_cores():
        return TensorTiles(sizes, fixed, marked)
    return Tiles(sizes, dtype if dtype.itemsize >= 4 else np.dtype(np.float32))
