"""Each function of the library, compiled, next to the same function as Python."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="it is compiled by LLVM")

from loop_texts import (
    assert_same,
    functions_of,
    kernel,
    run_as_python,
    run_both,
    run_compiled,
)

from graphgrad.loops import library
from graphgrad.loops.kernel_cache import compile_kernel
from graphgrad.loops.library import philox, products, ranking, rows, summary, threads
from graphgrad.loops.library.product_words import BUFFER, GAP, MEMORY, THREAD_BYTES, WORDS
from graphgrad.loops.threads import Pool

MODULES = [
    importlib.import_module(f"{library.__name__}.{module.name}")
    for module in pkgutil.iter_modules(library.__path__)
]
FLOATS = ("float32", "float64")


def test_words_of_counters() -> None:
    words = np.random.default_rng(0).integers(0, 2**32, 40, dtype=np.uint64)
    words[0] += 2**61
    body = """for i in range(30):
    a, b, c, d = group_words(w[i], w[i + 1], w[i + 2], w[i + 3], w[i + 4], w[i + 5])
    m[i, 0], m[i, 1], m[i, 2], m[i, 3] = a, b, c, d
    one[i] = edge_word(int64(i) * 3 + 1, w[0], w[1], w[2], w[3], w[4])
    begin, end = edges(int64(i % 7) * 5, int64(i))
    e[i, 0], e[i, 1] = begin, end""".replace("i % 7", "i - int64(i) // 7 * 7")
    text = kernel(body, "w: uint64, 40", "m: uint64, 30, 4", "one: uint64, 30", "e: int64, 30, 2")
    found, wanted = run_both(
        text,
        words,
        np.zeros((30, 4), np.uint64),
        np.zeros(30, np.uint64),
        np.zeros((30, 2), np.int64),
        library=functions_of(philox),
    )
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)
    assert len(np.unique(found[1])) == found[1].size and found[1].max() < 2**32


@pytest.mark.parametrize(("size", "start"), [(0, 0), (1, 2), (5, 3), (19, 0), (21, 2**33 + 1)])
def test_masks_and_words_of_a_range(size: int, start: int) -> None:
    """Nothing outside of the range is written; seeds and steps have 64 bits, also negative ones."""
    w = np.array([-(2**62) - 3, 2**40 + 5, 0xC0FFEE11, 2**30], np.int64)
    body = f"""fill_mask_float32(given[0], {size}, {start}, w[0], w[1], w[2], w[3], float32(1.25))
fill_mask_float64(given[1], {size}, {start}, w[0], w[1], w[2], w[3], float64(1.1))
part = array(given[2], float64, {size})
fill_elements(part, {start}, w[0], w[1], w[2], w[3], float64(1.1))
fill_words(given[3], {size}, {start}, v[0], v[1], v[2], v[3], v[4])"""
    text = kernel(
        body,
        "f: float32, 30",
        "d: float64, 30",
        "e: float64, 30",
        "u: uint32, 30",
        "w: int64, 4",
        "v: uint64, 5",
    )
    v = np.array([7, 2**32 - 1, 5, 11, 2**31], np.uint64)
    given = np.full(30, 9, "f4"), np.full(30, 9.0), np.full(30, 9.0), np.full(30, 9, "u4"), w, v
    found, wanted = run_both(text, *given, library=functions_of(philox))
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)
    assert all((array[size:] == 9).all() for array in found[:4])
    assert_same(found[1], found[2])


@pytest.mark.parametrize("type_", FLOATS)
def test_rows_added_up(type_: str) -> None:
    """At one place only: the function knows nothing of how many there are, and Python asks."""
    given = (np.random.default_rng(0).standard_normal((6, 7)) * 1e3).astype(type_)
    body = "add_rows_at(given[0], given[1], given[2], 6, 7)"
    text = kernel(body, f"x: {type_}, 7", "y: int64, 6", f"z: {type_}, 6, 7")
    (found, *_), (wanted, *_) = run_both(
        text,
        np.ones(7, type_),
        np.zeros(6, np.int64),
        given,
        library=functions_of(rows),
        types={"real": type_},
    )
    assert_same(found, wanted)


TYPES = {
    "float32": {"real": "float32", "signed": "int32", "unsigned": "uint32"},
    "float64": {"real": "float64", "signed": "int64", "unsigned": "uint64"},
}
LIMITS = {
    "float32": "signed(2147483647), signed(2139095040)",
    "float64": "signed(9223372036854775807), signed(9218868437227405312)",
}
LOWEST = {"float32": "unsigned(4286578688)", "float64": "unsigned(18442240474082181120)"}


@pytest.mark.parametrize("type_", FLOATS)
@pytest.mark.parametrize("content", ["usual", "infinite", "empty of numbers", "constant"])
def test_figures_of_an_array(type_: str, content: str) -> None:
    x = (np.random.default_rng(0).standard_normal(5000) + 3).astype(type_)
    x[7] = 0
    if content == "infinite":
        x[[8, 9, 10, 4500]] = np.inf, -np.inf, np.nan, np.nan
    elif content == "empty of numbers":
        x[::2], x[1::2] = np.nan, -np.inf
    elif content == "constant":
        x[:] = 0.1
    width = x.itemsize
    body = f"""bits_of = array(given[0], signed, 5000)
naturals = array(given[0], unsigned, 5000)
most, least, farthest, zeros, total, second = sums(x, bits_of, naturals, real(3))
integers[0], integers[1] = int64(most), int64(least)
integers[2], integers[3] = int64(farthest), int64(zeros)
floats[0], floats[1] = float64(total), float64(second)
again, squares = distances(x, real(3))
floats[2], floats[3] = float64(again), float64(squares)
count, mean, spread, smallest, largest, none = mixed(x, bits_of, {LIMITS[type_]})
integers[4], integers[5] = count, none
floats[4], floats[5], floats[6], floats[7] = mean, spread, smallest, largest
fine = measure(given[0], 5000, given[3], {LIMITS[type_]}, {LOWEST[type_]}, real(1e-30), {width})
integers[6] = int64(fine)
integers[7] = int64(write_figures(more, count, mean, spread, smallest, largest, none, 5000))"""
    text = kernel(
        body,
        f"x: {type_}, 5000",
        "integers: int64, 8",
        "floats: float64, 8",
        "figures: float64, 7",
        "more: float64, 7",
    )
    given = x, np.zeros(8, np.int64), np.zeros(8), np.zeros(7), np.zeros(7)
    (_, *found), (_, *wanted) = run_both(
        text, *given, library=functions_of(summary), types=TYPES[type_]
    )
    assert_same(found[0], wanted[0])
    tolerance = {"float32": 1e-4, "float64": 1e-12}[type_]  # sums are taken in another order
    for one, other in zip(found[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


COUNTING = """def kernel(first: int64, last: int64, arguments: int64, thread: int64, run: int64):
    given = array(arguments, int64, 1)
    done = array(given[0], int64, 20)
    for block in range(first, last):
        done[block] += 1
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_blocks_are_shared(workers: int) -> None:
    """Beside workers only compiled: Python's counter is none that threads may share."""
    pool, function = Pool(1 + workers), compile_kernel(COUNTING)
    done = np.zeros((2, 20), np.int64)
    places = np.array([row.ctypes.data for row in done], np.int64)
    table = np.array(
        [[function, 7, 1, places[1:].ctypes.data]] * 2 + [[function, 3, 0, places[1:].ctypes.data]],
        np.int64,
    )
    body = """run_shared(given[0], given[1], 7, given[2], 5)
run_rows(given[0], given[3], 0, 3)"""
    text = kernel(body, "w: int64, 1", "x: int64, 1", "y: int64, 1", "z: int64, 1")
    given = [pool.words.ctypes.data, function, places.ctypes.data, table.ctypes.data]
    for run in (run_compiled,) if workers else (run_compiled, run_as_python):
        done[:] = 0
        run(text, given, functions_of(threads))
        assert done[0].tolist() == [1] * 7 + [0] * 13
        assert done[1].tolist() == [3] * 3 + [2] * 4 + [0] * 13


@pytest.mark.parametrize("caller_sleeps", [False, True])
def test_a_worker_waits_works_and_tells(
    monkeypatch: pytest.MonkeyPatch, caller_sleeps: bool
) -> None:
    """`take_blocks` at work, and compiled, in test_threads.py; a worker has no end, so here its
    semaphores have one."""
    seen: list[Any] = []
    words = np.arange(100, 100 + threads.PLACES + 2 * threads.PLACE)
    own = words[threads.PLACES + threads.PLACE :]
    words[threads.COUNT], own[threads.STATE] = 1, threads.POSTED
    words[[threads.PLACES + threads.NEXT, threads.PLACES + threads.LAST]] = 1, 2  # the caller's
    own[[threads.NEXT, threads.LAST]] = 2, 4
    answers = iter([1])  # a signal ends the wait early

    def call_c(*given: Any) -> int:
        seen.append([int(word) for word in given[:2]])
        if given[0] == words[threads.POST]:
            return 0
        answer = next(answers, None)
        if answer is None:
            raise KeyboardInterrupt
        return answer

    def call_blocks(*given: Any) -> None:
        seen.append([int(word) for word in given])
        if caller_sleeps:
            own[threads.STATE] = threads.AWAITED

    monkeypatch.setattr(threads, "call_c", call_c)
    monkeypatch.setattr(threads, "call_blocks", call_blocks)
    with pytest.raises(KeyboardInterrupt):
        threads.worker_loop(words.ctypes.data, 1)
    waiting = [words[threads.WAIT], own[threads.WAKE]]
    posting = [[words[threads.POST], own[threads.DONE]]] if caller_sleeps else []
    rest = [words[threads.ARGUMENTS], 1, words[threads.RUN]]
    work = [[words[threads.FUNCTION], block, block + 1, *rest] for block in (2, 3, 1)]
    assert seen == [*work, *posting, waiting, waiting]


@pytest.mark.parametrize("step", [1, 3])
def test_a_panel_is_copied_to_rows_that_end_with_zeros(step: int) -> None:
    """`copy_panel`, of columns side by side or apart."""
    b = np.arange(90, dtype=np.float32).reshape(5, 18)  # the last row is not copied
    body = "copy_panel(given[0], 18, given[1], 5, 4, given[2], 8)"
    text = kernel(body, "x: int64, 1", "y: int64, 1", "z: int64, 1")
    for run in (run_compiled, run_as_python):
        copied = np.full((4, 8), 7, np.float32)
        given = [b.ctypes.data, step, copied.ctypes.data]
        run(text, given, functions_of(products))
        assert np.array_equal(copied[:, :5], b[:4, : 5 * step : step]) and not copied[:, 5:].any()


@pytest.mark.parametrize("a_row", [1, 7])
def test_rows_are_copied_as_they_lie(a_row: int) -> None:
    """`copy_rows`, of a transposed matrix or of one whose rows have a distance."""
    a = np.arange(42, dtype=np.float32).reshape(6, 7)
    step = 7 if a_row == 1 else 1
    body = f"copy_rows(given[0], {a_row}, {step}, 3, 4, given[1])"
    text = kernel(body, "x: int64, 1", "y: int64, 1")
    for run in (run_compiled, run_as_python):
        copied = np.zeros(3 * (4 + GAP), np.float32)
        run(text, [a.ctypes.data, copied.ctypes.data], functions_of(products))
        if a_row == 1:
            assert np.array_equal(copied[:12].reshape(4, 3), a[:4, :3])
        else:
            assert np.array_equal(copied.reshape(3, 4 + GAP)[:, :4], a[:3, :4])


def test_a_thread_has_memory_of_its_own_in_a_product() -> None:
    """`product_memory`: behind that of the threads before it."""
    words = np.zeros(WORDS, np.int64)
    words[[MEMORY, THREAD_BYTES, BUFFER]] = 1000, 64, 16
    text = kernel("found[0] = product_memory(given[0], 2)", "x: int64, 1", "found: int64, 1")
    for run in (run_compiled, run_as_python):
        found = np.zeros(1, np.int64)
        run(text, [words.ctypes.data, found], functions_of(products))
        assert found[0] == 1000 + 2 * 64 + 16


@pytest.mark.parametrize("dtype", FLOATS)
def test_elements_above_the_least(dtype: str) -> None:
    x = np.random.default_rng(0).normal(size=200).astype(dtype)
    x[70], x[80], x[90] = np.nan, np.inf, -np.inf
    body = """for i in range(3):
    n[i] = above(x, int64(i) * 64, l[i])"""
    text = kernel(body, f"x: {dtype}, 200", f"l: {dtype}, 3", "n: int32, 3")
    least = np.array([0.5, -np.inf, np.inf], dtype)
    counts = np.zeros(3, np.int32)
    run_compiled(text, [x, least, counts], functions_of(ranking), types={"real": dtype})
    wanted = [int((x[64 * i : 64 * i + 64] > least[i]).sum()) for i in range(3)]
    assert counts.tolist() == wanted and wanted[1] == 62


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("columns", "wanted"), [(1, 1), (5, 5), (64, 3), (129, 7), (300, 1)])
def test_top_rows_at_any_width(dtype: str, columns: int, wanted: int) -> None:
    """`top_rows_at`: equal ones in their order, NaN never; rows with too few above -∞ are left."""
    generator = np.random.default_rng(columns)
    x = generator.integers(-3, 3, (20, columns)).astype(dtype)
    x[3], x[4, 0], x[5, -1] = -np.inf, np.nan, np.inf
    found = np.empty((20, wanted), np.int32)
    left = ranking.top_rows(found, x)
    few = (np.nan_to_num(x, nan=-np.inf, posinf=np.inf, neginf=-np.inf) > -np.inf).sum(1) < wanted
    assert left.tolist() == few.tolist() and left[3]
    keys = np.where(np.isnan(x), -np.inf, x)
    order = np.argsort(-keys, axis=1, kind="stable")[:, :wanted].astype(np.int32)
    assert_same(found[~left], order[~left])


def test_every_function_of_the_library_is_tested() -> None:
    """By its name, or with its type left open."""
    files = ("test_library.py", "test_mathematics.py", "test_sums.py", "test_tiles.py")
    files = (*files, "test_turned.py", "test_attention.py")
    paths = [Path(__file__).with_name(file) for file in files]
    paths.append(Path(__file__).parent.with_name("backends") / "test_products.py")
    written = "".join(path.read_text() for path in paths)
    for module in MODULES:
        for name in functions_of(module):
            open_name = re.sub(r"_float(32|64)$", "_{type_}", name)
            assert re.search(rf"\b({re.escape(name)}|{re.escape(open_name)})(?!\w)", written), (
                f"{module.__name__}.{name} has no test"
            )
