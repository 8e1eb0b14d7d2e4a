"""Copies: which form each has, and that every one moves each element to its place."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cpu_device import Device, needs_compiler, needs_nvrtc
from test_products import described

from graphgrad.backends.cupy.copies import Copy, copy_of, pack_width
from graphgrad.backends.cupy.kernel_files import named
from graphgrad.backends.cupy.launches import Pointer
from graphgrad.backends.cupy.module import module_text, usage_of

SHAPES = ((3,), (40,), (5, 7), (33, 65), (64, 32), (2, 33, 9), (3, 16, 2, 12), (2, 3, 4, 32, 17))
DTYPES = ("float32", "float64", "bool", "float16")


def form_of(copy: Copy) -> str:
    if "__shared__" in copy.text:
        return "tiled"
    return "packed" if "Pack<" in copy.text else "single"


def arrays_of(shape: tuple[int, ...], axes: tuple[int, ...], dtype: str) -> tuple[Any, Any]:
    """What is read, its axes in another order in memory, and where it is written in order."""
    generator = np.random.default_rng(len(shape))
    ordered = generator.integers(0, 2 if dtype == "bool" else 99, [shape[a] for a in axes])
    return ordered.astype(dtype).transpose(np.argsort(axes)), np.zeros(shape, dtype)


def cases() -> list[tuple[Any, Any, bool]]:
    found = []
    for dtype in DTYPES:
        for shape in SHAPES:
            orders = list(itertools.permutations(range(len(shape))))
            for axes in orders[:: max(1, len(orders) // 6)]:
                source, target = arrays_of(shape, axes, dtype)
                found += [(source, target, False), (source, target + np.ones((), dtype), True)]
                if shape[-1] > 8:  # windows that begin within a row, and rows with room between
                    found += [(source[..., 4:], np.zeros_like(target)[..., 4:], False)]
                    found += [(source[..., 1::2], np.zeros_like(target)[..., 1::2], False)]
    return [case for case in found if case[0].dtype != np.float16 or not case[2]]


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


def moved(device: Device, name: str, copy: Copy, source: np.ndarray, target: np.ndarray) -> None:
    starts = iter((address(source), address(target)))
    words = [next(starts) if isinstance(word, Pointer) else word for word in copy.words]
    device.launch(name, copy.grid, 256, words, 1)


@needs_compiler
def test_every_copy_moves_each_element_to_its_place():
    """Of all orders of axes, windows and odd sizes, moved or added."""
    every = cases()
    copies = [copy_of(described(a), described(b), adds) for a, b, adds in every]
    texts = dict(named(copy.text) for copy in copies)
    device = Device(texts)
    forms = set()
    for (source, target, adds), copy in zip(every, copies, strict=True):
        # arrays of a program begin at multiples of 16 bytes where their offset does
        source, target = at_sixteen(source), at_sixteen(target)
        wanted = target + source if adds else source.copy()
        moved(device, named(copy.text)[0], copy, source, target)
        np.testing.assert_array_equal(target, wanted)
        forms.add((form_of(copy), adds))
    assert {("tiled", False), ("tiled", True), ("packed", False), ("single", False)} <= forms


def at_sixteen(array: np.ndarray) -> np.ndarray:
    """The same numbers with the same strides, from a multiple of 16 bytes on."""
    reach = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
    raw = np.zeros(reach + array.itemsize + 32, np.uint8)
    start = -raw.ctypes.data % 16
    found: np.ndarray = np.ndarray(array.shape, array.dtype, raw.data, start, array.strides)
    found[...] = array
    return found


@pytest.mark.parametrize(
    ("shape", "axes", "form"),
    [
        ((64, 32), (0, 1), "packed"),
        ((64, 33), (0, 1), "packed"),
        ((63, 33), (0, 1), "single"),
        ((64, 32), (1, 0), "tiled"),
        ((64, 4), (1, 0), "single"),
        ((8, 16, 4, 32), (0, 2, 1, 3), "packed"),
        ((8, 16, 4, 30), (0, 2, 1, 3), "single"),
        ((8, 16, 4, 32), (0, 1, 3, 2), "single"),
        ((8, 16, 12, 32), (0, 1, 3, 2), "tiled"),
        ((8, 16, 12, 32), (3, 1, 2, 0), "tiled"),
    ],
)
def test_a_copy_has_the_form_that_its_strides_allow(shape, axes, form):
    source, target = arrays_of(shape, axes, "float32")
    assert form_of(copy_of(described(source), described(target))) == form


def test_sixteen_bytes_are_read_at_once_only_where_all_allows_it():
    array = described(np.zeros(64, np.float32))
    assert pack_width(array.dtype, (array,), (64, 32)) == 4
    assert pack_width(np.dtype("float64"), (array,), (64,)) == 2
    assert pack_width(np.dtype("bool"), (array,), (64,)) == 16
    assert pack_width(array.dtype, (array,), (64, 30)) == 1
    aside = type(array)(array.memory, 4, array.dtype, array.shape, array.strides)
    assert pack_width(array.dtype, (array, aside), (64,)) == 1


@needs_nvrtc
def test_a_tile_needs_few_registers_and_no_memory_of_its_own():
    texts = {}
    for dtype in DTYPES[:3]:
        source, target = arrays_of((8, 16, 12, 32), (3, 1, 2, 0), dtype)
        texts |= dict([named(copy_of(described(source), described(target)).text)])
    for its in usage_of(module_text(texts), "sm_90").values():
        assert its.stack_bytes == its.spilled_bytes == 0 and its.registers <= 40
