"""Philox4x32-10: published answers, the layout of streams, and equal bits of compiled code."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from graphgrad import philox
from graphgrad.errors import ConfigurationError, DeclarationError

compiled = pytest.importorskip("graphgrad.loops.library.philox", exc_type=ImportError)
SEED, STEP, STREAM = 0xFEDCBA9876543210, 0x123456789ABCDEF0, 0xC0FFEE11
IMPLEMENTATIONS = pytest.mark.parametrize(
    "implementation", [philox, compiled], ids=["numpy", "compiled"]
)


def words(implementation: ModuleType, count: int, **changed: int) -> np.ndarray:
    arguments = {"seed": SEED, "stream": STREAM, "step": STEP, "start": 0} | changed
    return implementation.random_words(count, **arguments)


def mask(
    implementation: ModuleType, count: int, rate: float, dtype: Any = np.float32, **changed: int
):
    arguments = {"seed": SEED, "stream": STREAM, "step": STEP, "start": 0} | changed
    out = np.full(count, np.nan, dtype)
    implementation.fill_dropout_mask(out, rate=rate, **arguments)
    return out


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        (
            "00000000 00000000 00000000 00000000",
            "00000000 00000000",
            "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        ),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
@IMPLEMENTATIONS
def test_published_answers(implementation: ModuleType, counter: str, key: str, answer: str) -> None:
    c, k, expected = ([int(word, 16) for word in text.split()] for text in (counter, key, answer))
    assert [int(word) for word in philox.philox4x32(tuple(c), tuple(k))] == expected
    drawn = implementation.random_words(
        4, k[0] + (k[1] << 32), stream=c[1], step=c[2] + (c[3] << 32), start=4 * c[0]
    )
    assert drawn.tolist() == expected  # the same through the layout: each field in its place


def test_counters_of_any_shape_broadcast() -> None:
    counters = np.arange(6, dtype=np.uint32).reshape(2, 3)
    result = philox.philox4x32((counters, 5, 6, 7), (8, 9))
    assert [word.shape for word in result] == [(2, 3)] * 4
    assert all(word.dtype == np.uint32 for word in result)
    one = philox.philox4x32((4, 5, 6, 7), (8, 9))
    assert [int(word[1, 1]) for word in result] == [int(word) for word in one]
    assert [word.shape for word in philox.philox4x32((counters, 5, 6, 7), (8, 9), 0)] == [
        (2, 3)
    ] * 4


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 63, 1021, 16384, 16385, 40000])
@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 4093, 2**34 - 5])
def test_compiled_words_are_the_reference(count: int, start: int) -> None:
    reference = words(philox, count, start=start)
    assert reference.dtype == np.uint32 and reference.shape == (count,)
    assert np.array_equal(words(compiled, count, start=start), reference)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.0, 1e-12, 0.1, 0.5, 0.9, 1 - 2**-53])
def test_compiled_masks_are_the_reference(dtype: Any, rate: float) -> None:
    for count, start in ((1, 0), (3, 3), (1027, 2), (50001, 2**34 - 7)):
        reference = mask(philox, count, rate, dtype, start=start)
        result = mask(compiled, count, rate, dtype, start=start)
        assert result.dtype == dtype
        assert np.array_equal(result, reference)


@IMPLEMENTATIONS
def test_a_mask_is_the_words_compared_with_the_threshold(implementation: ModuleType) -> None:
    rate = 0.3
    kept = words(philox, 5000, start=9).astype(object) >= math.floor(rate * 2**32)
    expected = np.where(kept.astype(bool), np.float32(1 / (1 - rate)), np.float32(0))
    assert np.array_equal(mask(implementation, 5000, rate, start=9), expected)


def test_a_word_equal_to_the_threshold_is_kept() -> None:
    word = int(words(philox, 1)[0])
    for implementation in (philox, compiled):
        assert mask(implementation, 1, word / 2**32)[0] > 0
        assert mask(implementation, 1, (word + 1) / 2**32)[0] == 0


@IMPLEMENTATIONS
def test_parts_make_the_whole_in_any_order_and_by_any_thread(implementation: ModuleType) -> None:
    rows, columns, rate = 37, 101, 0.25
    whole = mask(implementation, rows * columns, rate).reshape(rows, columns)
    parts = np.full((rows, columns), np.nan, np.float32)

    def fill(first: int) -> None:
        part = parts[first : first + 5]
        implementation.fill_dropout_mask(part, SEED, STEP, STREAM, rate, start=first * columns)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fill, reversed(range(0, rows, 5))))
    assert np.array_equal(parts, whole)


@IMPLEMENTATIONS
def test_shares_and_mean_of_a_mask(implementation: ModuleType) -> None:
    count = 1 << 20
    for rate in (0.1, 0.5):
        result = mask(implementation, count, rate, np.float64)
        deviation = math.sqrt(rate * (1 - rate) / count)
        assert abs((result == 0).mean() - rate) < 5 * deviation
        assert abs(result.mean() - 1) < 5 * deviation / (1 - rate)
    assert (mask(implementation, 1000, 0.0) == 1).all()


def test_the_bits_are_even_and_lanes_are_independent() -> None:
    drawn = words(philox, 1 << 18)
    bits = np.unpackbits(drawn.view(np.uint8)).mean()
    assert abs(bits - 0.5) < 5 * 0.5 / math.sqrt(drawn.size * 32)
    lanes = np.corrcoef(drawn.reshape(-1, 4).astype(np.float64).T) - np.eye(4)
    assert np.abs(lanes).max() < 5 / math.sqrt(drawn.size / 4)


@IMPLEMENTATIONS
def test_equal_arguments_equal_words_and_each_argument_matters(implementation: ModuleType) -> None:
    first = words(implementation, 64)
    assert np.array_equal(words(implementation, 64), first)
    others = [
        words(implementation, 64, **changed)
        for changed in (
            {"seed": SEED ^ 1},
            {"seed": SEED ^ (1 << 63)},
            {"stream": STREAM ^ 1},
            {"stream": STREAM ^ (1 << 31)},
            {"step": STEP ^ 1},
            {"step": STEP ^ (1 << 63)},
            {"start": 64},
        )
    ]
    for number, other in enumerate(others):
        assert (other == first).mean() < 0.1, number
    assert len({other.tobytes() for other in others}) == len(others)


@IMPLEMENTATIONS
def test_a_stream_repeats_after_its_period(implementation: ModuleType) -> None:
    across = words(implementation, 20, start=philox.PERIOD - 9)
    assert np.array_equal(across[9:], words(implementation, 11))
    assert np.array_equal(words(implementation, 20, start=2 * philox.PERIOD - 9), across)


@IMPLEMENTATIONS
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda implementation: words(implementation, 4, seed=2**64), "seed"),
        (lambda implementation: words(implementation, 4, seed=-1), "seed"),
        (lambda implementation: words(implementation, 4, stream=2**32), "stream"),
        (lambda implementation: words(implementation, 4, step=-1), "step"),
        (lambda implementation: words(implementation, 4, start=-1), "-1"),
        (lambda implementation: words(implementation, -1), "-1"),
        (lambda implementation: mask(implementation, 4, 1.0), "rate"),
        (lambda implementation: mask(implementation, 4, -0.1), "rate"),
        (lambda implementation: mask(implementation, 4, math.nan), "rate"),
    ],
)
def test_numbers_out_of_range(
    implementation: ModuleType, call: Callable[[ModuleType], object], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        call(implementation)


@IMPLEMENTATIONS
@pytest.mark.parametrize(
    "out",
    [
        np.zeros(4, np.float16),
        np.zeros(4, ">f4"),
        np.zeros((4, 4))[:, 1],
        np.asfortranarray(np.eye(3)),
    ],
    ids=["float16", "big-endian", "column", "fortran"],
)
def test_arrays_that_hold_no_mask(implementation: ModuleType, out: np.ndarray) -> None:
    before = out.copy()
    with pytest.raises(DeclarationError, match="mask"):
        implementation.fill_dropout_mask(out, SEED, STEP, STREAM, 0.5)
    assert np.array_equal(out, before)


def test_without_llvmlite_the_reference_stays_and_the_compiled_file_says_import_error() -> None:
    script = (
        "import sys; sys.modules['llvmlite'] = None\n"
        "import graphgrad.philox\n"
        "try:\n    import graphgrad.loops.library.philox\n"
        "except ImportError:\n    print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "refused\n", done.stderr


def test_without_a_folder_for_compiled_code_it_compiles_in_memory(tmp_path) -> None:
    script = (
        "from graphgrad.loops.library import philox\n"
        "print(philox.random_words(1, 0, stream=0, step=0)[0])\n"
    )
    (tmp_path / "file").touch()
    environment = os.environ | {"GRAPHGRAD_CACHE": str(tmp_path / "file")}  # no folder
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout == f"{0x6627E8D5}\n", done.stderr


def test_the_compiled_loop_is_vector_code() -> None:
    """Scalar code is 2.6 times the reference, vector code 8 (SSE) to 22 (AVX-512) times."""
    out = np.empty(1 << 18, np.float32)
    best = {philox: math.inf, compiled: math.inf}
    for _ in range(7):
        for implementation in best:
            start = time.perf_counter()
            implementation.fill_dropout_mask(out, SEED, STEP, STREAM, 0.1)
            best[implementation] = min(best[implementation], time.perf_counter() - start)
    assert best[philox] > 4 * best[compiled]
