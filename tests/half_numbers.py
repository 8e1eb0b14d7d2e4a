"""Floats of 16 bits for tests: numbers at which casts are easily wrong, and every operation between
casts."""

from __future__ import annotations

import functools

import numpy as np

import graphgrad as gg
from graphgrad import Graph, Operation
from graphgrad.graph.types import FLOAT32, HALVES
from graphgrad.ops import ALL_OPERATIONS

NAMES = [str(half) for half in HALVES]


@functools.cache
def every_half(dtype: str) -> np.ndarray:
    """All 65,536 numbers of the dtype."""
    return np.arange(1 << 16, dtype=np.uint16).view(dtype)


@functools.cache
def hard_floats(dtype: str) -> np.ndarray:
    """float32 on, halfway between, and beside all numbers of the dtype; and of all exponents.

    Halfway is an exact tie, so rounding to the even one shows; one step beside it is none.
    """
    with np.errstate(all="ignore"):
        values = every_half(dtype).astype(np.float64)
    finite = np.sort(values[np.isfinite(values)])
    limit = np.abs(finite).max()
    step = limit - np.sort(np.abs(finite))[-3]
    ties = [*(finite[1:] + finite[:-1]) / 2, limit + step / 2, -limit - step / 2]
    with np.errstate(all="ignore"):
        exact = np.concatenate([finite, ties]).astype(np.float32)
    beside = [np.nextafter(exact, np.float32(way)) for way in (np.inf, -np.inf)]
    generator = np.random.default_rng(0)
    any_bits = generator.integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32)
    edges = np.array([0, np.inf, np.nan, 1e-45, 1e-39, 65519.996, 65520, 3.4e38], np.float32)
    nans = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000], np.uint32).view(np.float32)
    return np.concatenate([exact, *beside, any_bits, edges, -edges, nans])


def assert_same_bits(found: np.ndarray, wanted: np.ndarray) -> None:
    """Asserts the same bits, and NaN where there is NaN."""
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    with np.errstate(all="ignore"):
        nan = np.isnan(wanted.astype(np.float64))
        np.testing.assert_array_equal(np.isnan(found.astype(np.float64)), nan)
    bits = f"u{wanted.dtype.itemsize}"
    np.testing.assert_array_equal(found.view(bits)[~nan], wanted.view(bits)[~nan])


def in_halves(operation: Operation, number: int, dtype: str) -> Graph:
    """A sample of an operation whose float heads are of 16 bits, and whose result is, as a pass for
    mixed precision leaves them: cast before and after."""
    sample = operation.samples[number]
    dtypes = {"integer": "int32", "boolean": "bool"}
    heads = [
        gg.input(f"x{place}", draw.shape, dtypes.get(draw.kind, dtype))
        for place, draw in enumerate(sample.heads)
    ]
    takes = operation.takes_halves and operation is not gg.cast
    given = [gg.cast(head, "float32") if head.type.is_half else head for head in heads]
    if operation.name == "attention_delta":  # its statistics are float32
        given = [*heads[:4], given[4], *heads[5:]]
    y = operation.node(
        *(heads if takes and operation.name != "attention_delta" else given), **sample.attributes
    )
    return Graph({"y": gg.cast(y, dtype) if y.dtype == FLOAT32 else y})


def assert_within_a_digit(found: np.ndarray, wanted: np.ndarray) -> None:
    """Asserts values that differ by one unit of the last digit at most: what is rounded to 16 bits
    may have differed in the last digits of float32."""
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    digit = {"bfloat16": 2.0**-7, "float16": 2.0**-10}.get(str(wanted.dtype), 0.0)
    one, two = found.astype(np.float64), wanted.astype(np.float64)
    np.testing.assert_allclose(one, two, rtol=digit, atol=1e-7 if digit else 0.0)


SAMPLES = [
    (operation, number, NAMES[place % len(NAMES)])
    for place, (operation, number) in enumerate(
        (operation, number)
        for operation in ALL_OPERATIONS
        for number, its in enumerate(operation.samples)
        if any(head.kind in ("real", "positive") for head in its.heads)
    )
]
"""Every sample that has floats, in one of the two dtypes in turn."""
