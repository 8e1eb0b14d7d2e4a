"""Philox4x32-10 and dropout masks, compiled to vector code: the same bits, much faster.

`random_words` and `fill_dropout_mask` have the signatures, the meaning and the errors of those in
`graphgrad.philox`, which is the reference and holds the layout.

- Importing this file without llvmlite raises ImportError, and the caller goes on with the
  reference.
- No lock is held: threads may fill ranges of one array at the same time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphgrad.loops.compiled_functions import exported
from graphgrad.loops.library import philox
from graphgrad.philox import (
    check_count,
    check_start,
    counter_words,
    dropout_scale,
    dropout_threshold,
    flat_mask,
    key_words,
)


def random_words(
    count: int, seed: int, *, stream: int, step: int, start: int = 0
) -> NDArray[np.uint32]:
    """Words ``start`` to ``start + count - 1`` of a stream, ``uint32[count]``."""
    words = np.empty(check_count(count), dtype=np.uint32)
    counter, key = counter_words(stream, step), key_words(seed)
    _compiled("fill_words")(words.ctypes.data, count, check_start(start), *counter, *key)
    return words


def fill_dropout_mask(
    out: NDArray[Any], seed: int, step: int, stream: int, rate: float, start: int = 0
) -> None:
    """Write the mask of a dropout of ``rate`` into ``out``: the scale where kept, else 0.

    ``out`` is a C-contiguous array of float32 or float64 of any shape; its first element is
    number ``start`` of the stream. Raises `DeclarationError` for another array and
    `ConfigurationError` for a number out of range.
    """
    flat = flat_mask(out)
    threshold, scale = dropout_threshold(rate), dropout_scale(rate)
    check_start(start), counter_words(stream, step), key_words(seed)
    _compiled(f"fill_mask_{flat.dtype}")(
        flat.ctypes.data, flat.size, start, seed, step, stream, threshold, scale
    )


@cache
def _compiled(name: str) -> Any:
    return exported(getattr(philox, name))
