"""The kernels of a measurement: the figures of each value, read once, in a fixed order.

Each block measures a part of a value, and one more block adds the parts up. Deviations from the
mean are added by the formulas of Chan, Golub and LeVeque (1979), as the processor does
(graphgrad/loops/library/summary.py).
"""

from __future__ import annotations

import numpy as np

from graphgrad.backends.cupy.expressions import HALVES
from graphgrad.backends.cupy.kernel_files import kernel_text
from graphgrad.backends.cupy.launches import Array
from graphgrad.backends.cupy.lowering import Lowering
from graphgrad.graph import Node, TensorType
from graphgrad.ops.measurement import FIGURES_OF_VALUE

PART, MOST_PARTS = 1 << 15, 256
"""The elements that a block reads at least, and how many blocks there are at most."""
BLOCK = 256
FIGURES_OF_PART = 8
"""What a part stores: the struct Figures of device.cuh."""
_DOUBLE = np.dtype("float64")


def summarised(lowering: Lowering, node: Node) -> None:
    """Adds the launches of a measurement."""
    result = lowering.array(node)
    for number, head in enumerate(node.heads):
        start = result.offset + _DOUBLE.itemsize * FIGURES_OF_VALUE * number
        place = Array(result.memory, start, _DOUBLE, (FIGURES_OF_VALUE,), (_DOUBLE.itemsize,))
        _measured(lowering, node, lowering.contiguous(node, lowering.array(head)), place)


def _measured(lowering: Lowering, node: Node, value: Array, place: Array) -> None:
    parts = min(max(-(-value.size // PART), 1), MOST_PARTS)
    length = -(-value.size // parts)
    found = lowering.scratch(TensorType((parts, FIGURES_OF_PART), _DOUBLE))
    convert = "as_float" if str(value.dtype) in HALVES else "double"
    text = kernel_text("summary_parts", element=value.dtype, convert=convert)
    words = (value.size, length, value.read, found.written)
    lowering.launch(node, text, parts, words, BLOCK)
    text = kernel_text("summary_whole", parts=str(MOST_PARTS))
    lowering.launch(node, text, 1, (value.size, parts, found.read, place.written), BLOCK)
