"""Copies of elements from one set of strides to another, as kernels: one of three forms.

- Where the last axis lies together on both sides, 16 bytes are read at once if everything that
  counts elements allows it (`pack_width`).
- Where two axes change places, so that what lies together on one side does not on the other, a
  block moves a tile of 32 × 32 through shared memory: it reads along one axis and writes along the
  other, each time 32 elements that lie together.
- Any other copy moves element by element.

The number of axes is part of a text, their sizes are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.backends.cupy.expressions import C_TYPES
from graphgrad.backends.cupy.kernel_files import copy_text, joined_axes
from graphgrad.backends.cupy.launches import Array, Word

TILE = 32
"""Rows and columns of a tile; a block of 256 threads moves 4 elements a thread."""
SMALLEST_TILED = 8
"""An axis with fewer elements leaves most of a tile empty."""
VECTOR = 16
"""Bytes that a thread reads at once where it can."""
BLOCK = 256


@dataclass(frozen=True)
class Copy:
    """The kernel of a copy and what it is given."""

    text: str
    grid: int
    words: tuple[Word, ...]


def pack_width(dtype: np.dtype, places: Iterable[Array], counts: Iterable[int]) -> int:
    """How many elements are read at once: 16 bytes of them, or one.

    All arrays begin at multiples of 16 bytes, and whatever counts elements (sizes of what lies
    together, strides) is a multiple of so many.
    """
    width = VECTOR // dtype.itemsize
    begins = all(array.offset % VECTOR == 0 for array in places)
    return width if begins and all(count % width == 0 for count in counts) else 1


def packed(dtype: np.dtype, width: int) -> str:
    """The C type of so many elements at once."""
    kind = C_TYPES[str(dtype)]
    return f"Pack<{kind}, {width}>" if width > 1 else kind


def copy_of(source: Array, target: Array, adds: bool = False) -> Copy:
    """The copy of one array to the places of another of the same shape, or what is added to them;
    the two overlap nowhere."""
    size = source.dtype.itemsize
    axes, read, written = joined_axes(
        source.shape,
        [stride // size for stride in source.strides],
        [stride // size for stride in target.strides],
    )
    across = _turned_axes(axes, read, written)
    if across is not None:
        return _tiled(source, target, axes, read, written, across, adds)
    count, element = source.size, packed(source.dtype, 1)
    counts = (axes[-1], *read[:-1], *written[:-1])
    width = pack_width(source.dtype, (source, target), counts)
    if not adds and width > 1 and (read[-1], written[-1]) == (1, 1):
        count, element = count // width, packed(source.dtype, width)
        axes = (*axes[:-1], axes[-1] // width)
        read = (*(stride // width for stride in read[:-1]), 1)
        written = (*(stride // width for stride in written[:-1]), 1)
    words: tuple[Word, ...] = (count, *axes[1:], *read, *written, source.read, target.written)
    return Copy(copy_text(element, len(axes), adds), -(-count // BLOCK), words)


def _turned_axes(
    axes: Sequence[int], read: Sequence[int], written: Sequence[int]
) -> tuple[int, int] | None:
    """The axis that lies together where it is read, and the one where it is written, if these are
    two of some size."""
    along = [place for place, stride in enumerate(read) if stride == 1]
    across = [place for place, stride in enumerate(written) if stride == 1]
    if len(along) != 1 or len(across) != 1 or along == across:
        return None
    large = min(axes[along[0]], axes[across[0]]) >= SMALLEST_TILED
    return (along[0], across[0]) if large else None


def _tiled(
    source: Array,
    target: Array,
    axes: Sequence[int],
    read: Sequence[int],
    written: Sequence[int],
    across: tuple[int, int],
    adds: bool,
) -> Copy:
    x, y = across
    others = [place for place in range(len(axes)) if place not in across]
    tiles = [-(-axes[place] // TILE) for place in (x, y)]
    grid = tiles[0] * tiles[1]
    for place in others:
        grid *= axes[place]
    words: tuple[Word, ...] = (
        *(axes[x], axes[y], read[y], written[x], *tiles),
        *(axes[place] for place in others),
        *(read[place] for place in others),
        *(written[place] for place in others),
        *(source.read, target.written),
    )
    return Copy(_tiled_text(source.dtype, len(others), adds), grid, words)


def _tiled_text(dtype: np.dtype, others: int, adds: bool) -> str:
    kind, places = C_TYPES[str(dtype)], range(others)
    names = ["width", "height", "from_row", "to_row", "across", "down"]
    names += [f"{what}{axis}" for what in ("size", "from", "to") for axis in places]
    parameters = [f"const long long {name}" for name in names]
    parameters += [f"const {kind}* source", f"{kind}* target"]
    value = "tile[threadIdx.x % 32][line]"
    place = "target[column + row * to_row]"
    stored = f"added({place}, {value})" if adds else value
    lines = [
        f"__shared__ {kind} tile[32][33];  // a column of 33 meets each bank once",
        "long long rest = blockIdx.x;",
        "const long long left = rest % across * 32;",
        "rest /= across;",
        "const long long top = rest % down * 32;",
        "rest /= down;",
    ]
    for axis in reversed(places):
        lines += [
            f"source += rest % size{axis} * from{axis};",
            f"target += rest % size{axis} * to{axis};",
            f"rest /= size{axis};",
        ]
    lines += [
        "for (int line = threadIdx.x / 32; line < 32; line += 8) {",
        "    const long long column = left + threadIdx.x % 32, row = top + line;",
        "    if (column < width && row < height)",
        "        tile[line][threadIdx.x % 32] = source[column + row * from_row];",
        "}",
        "__syncthreads();",
        "for (int line = threadIdx.x / 32; line < 32; line += 8) {",
        "    const long long column = top + threadIdx.x % 32, row = left + line;",
        f"    if (column < height && row < width) {place} = {stored};",
        "}",
    ]
    head = 'extern "C" __global__ void __launch_bounds__(256) kernel('
    given = ",\n".join(f"    {parameter}" for parameter in parameters)
    return "\n".join([head, f"{given})", "{", *(f"    {line}" for line in lines), "}", ""])
