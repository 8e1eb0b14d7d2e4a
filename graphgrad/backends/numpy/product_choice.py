"""Chooses who computes a product, by measurement: our own kernels, or NumPy's BLAS.

The first program with a product that is large enough has all classes (product_classes.py) measured,
both ways and in turns, in some tenths of a second: as rates of one core, by its own clock, so that
other programs that keep the machine busy hardly matter. The rates are kept on disk for this
processor, this BLAS and this code, so later processes choose alike, with any number of threads.
A file that is damaged is as good as none, and of processes that measure at once one counts.

The choice changes the rounding of results. A training run keeps the rates that it began with, so a
resumed run has the same bits.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from graphgrad.backends.numpy.product_classes import CLASSES, ProductClass, Rates, read_rates
from graphgrad.backends.numpy.product_shapes import shape_of
from graphgrad.backends.numpy.product_table import panels_of, words_of
from graphgrad.backends.numpy.product_text import height_of, render_product
from graphgrad.kept_code import KeptCode
from graphgrad.loops.compiled_functions import translator_digest
from graphgrad.loops.kernel_cache import compile_kernel
from graphgrad.loops.library.product_words import MEMORY, PANELS, READY, A, B
from graphgrad.loops.machine_code import machine_code
from graphgrad.loops.threads import compiled_run_rows, shared_pool

ROUNDS, TURNS = 3, 2
"""How often all classes are measured, and how often each is timed then."""
KEPT = KeptCode("products", ".rates")


def kept_rates() -> Rates | None:
    """The rates on this processor, if they are kept."""
    return _read(_name())


@cache
def measured_rates() -> Rates:
    """The rates on this processor: as they are kept, or measured."""
    name = _name()
    found = _read(name)
    if found is None:
        measured = measure()
        found = _read(name)  # of another process that measured at once
        if found is None:
            KEPT.write(name, json.dumps(measured).encode())
            found = measured
    return found


def measure() -> dict[str, tuple[float, float]]:
    """Measures all classes: the fastest of several turns each way."""
    trials = [(each, *_trial(each)) for each in CLASSES]
    best: dict[str, list[float]] = {str(each): [math.inf, math.inf] for each in CLASSES}
    with threadpool_limits(1, "blas"):
        for way, (each, *ways) in product(ROUNDS * (0, 1), trials):
            seconds = best[str(each)]
            seconds[way] = min(seconds[way], *_timed(ways[way]))
    return {
        str(each): (
            round(each.operations / best[str(each)][0] / 1e9, 1),
            round(each.operations / best[str(each)][1] / 1e9, 1),
        )
        for each in CLASSES
    }


def _timed(multiply: Callable[[], object]) -> Iterator[float]:
    for _ in range(TURNS):
        started = time.thread_time()
        multiply()
        yield max(time.thread_time() - started, 1e-9)


def _trial(each: ProductClass) -> tuple[Callable[[], object], Callable[[], object]]:
    """A product of a class, by our kernel and by NumPy."""
    a, b = (
        np.full(sizes[::-1] if transposed else sizes, 0.5, np.float32)
        for sizes, transposed in (
            ((each.rows, each.depth), each.a_transposed),
            ((each.depth, each.columns), each.b_transposed),
        )
    )
    a, b = a.T if each.a_transposed else a, b.T if each.b_transposed else b
    c = np.empty((each.rows, each.columns), np.float32)
    return own_product(c, a, b, 1), lambda: np.matmul(a, b, out=c)


def own_product(c: np.ndarray, a: np.ndarray, b: np.ndarray, threads: int) -> Callable[[], None]:
    """A function that computes c = a b, of arrays that it keeps, by our kernel."""
    shape = shape_of(c, a, b)
    assert shape is not None
    height = height_of(shape.rows)
    blocks = -(-shape.rows // height)
    kernel = render_product(shape.rows, shape.c_row)
    size = shape.block_bytes(height)
    memory, flags = np.zeros(threads * size + 64, np.uint8), np.zeros(panels_of(shape), np.int64)
    panels = np.empty(shape.panels.sizes, np.float32)
    words = words_of(shape, size)
    for place, array in ((A, a), (B, b), (READY, flags), (MEMORY, memory), (PANELS, panels)):
        words[place] = array.ctypes.data
    words[PANELS] *= shape.copies_b
    arguments = np.array([height, shape.rows, c.ctypes.data, shape.c_row, *words], np.int64)
    row = (compile_kernel(kernel.text), blocks, 1, arguments.ctypes.data)
    table, pool, run = np.array([row], np.int64), shared_pool(threads), compiled_run_rows()
    kept = a, b, c, memory, flags, panels, arguments

    def multiply() -> None:
        assert kept
        run(pool.words.ctypes.data, table.ctypes.data, 0, 1)

    return multiply


def _name() -> str:
    """The name of the file of this processor, this BLAS and this code."""
    blas = [
        (its["internal_api"], its["version"], its.get("architecture"))
        for its in threadpool_info()
        if its["user_api"] == "blas"
    ]
    texts = [translator_digest(), str(sorted(map(str, blas))), str(CLASSES)]
    return machine_code().name_of(hashlib.sha256("\n".join(texts).encode()).hexdigest())


def _read(name: str) -> Rates | None:
    content = KEPT.read(name)
    try:
        return None if content is None else read_rates(json.loads(content))
    except ValueError:
        return None
