"""Subnormal numbers: kernels flush them on every thread, and callers keep them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="kernels are compiled by LLVM")

import graphgrad as gg
from graphgrad.loops.compiled_functions import compile_function
from graphgrad.loops.float_control import FLUSH
from graphgrad.loops.kernel_cache import compile_kernel
from graphgrad.loops.language import (
    array,
    exp,
    float32,
    float64,
    float_control,
    int64,
    loop_function,
    set_float_control,
)
from graphgrad.loops.library import mathematics
from graphgrad.loops.threads import Pool, compiled_run_rows

pytestmark = pytest.mark.skipif(not FLUSH, reason="this processor has no such control word")

NO_FLAGS, SUBNORMAL_READ, UNDERFLOW = 0x1F80, 0x02, 0x10
"""MXCSR as a process starts with it, and the bits that an operation on subnormals leaves in it."""
exp_float32, exp_float64 = mathematics.exp_float32, mathematics.exp_float64
LARGE = 1 << 20  # elements: threads share it


@loop_function()
def word_of_thread(address: int64):
    """Stores the control word of the thread."""
    out = array(address, int64, 1)
    out[0] = float_control()


@loop_function()
def flags_of_exp(address: int64, count: int64):
    """Replaces numbers by their exponentials; stores what that left in the control word first."""
    out = array(address, int64, 1)
    x = array(address + 8, float32, count)
    before = float_control()
    set_float_control(NO_FLAGS)
    for i in range(count):
        x[i] = exp(x[i])
    out[0] = float_control()
    set_float_control(before)


@loop_function()
def flags_of_exp_float64(address: int64, count: int64):
    """The same of float64."""
    out = array(address, int64, 1)
    x = array(address + 8, float64, count)
    before = float_control()
    set_float_control(NO_FLAGS)
    for i in range(count):
        x[i] = exp(x[i])
    out[0] = float_control()
    set_float_control(before)


def control_word() -> int:
    out = np.zeros(1, np.int64)
    compile_function(word_of_thread)(out.ctypes.data)
    return int(out[0])


@pytest.mark.skipif(FLUSH != 0x8040, reason="the flags are those of x86")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("score", "subnormal"), [(-np.inf, False), (-1000.0, False), (0.5, False), (None, True)]
)
def test_an_exponential_that_vanishes_meets_no_subnormal(
    score: float | None, subnormal: bool, dtype: str
) -> None:
    """The processor itself says whether one was read or made; None: a score whose result is one."""
    given = {"float32": -95.0, "float64": -720.0}[dtype] if score is None else score
    memory = np.zeros(200, np.int64)
    x = memory[1:].view(dtype)
    x[:] = given
    function = flags_of_exp if dtype == "float32" else flags_of_exp_float64
    compile_function(function)(memory.ctypes.data, 64)
    assert bool(memory[0] & (SUBNORMAL_READ | UNDERFLOW)) == subnormal
    np.testing.assert_allclose(x[:64], np.exp(np.asarray(given, dtype)), 1e-5)


@pytest.mark.parametrize("size", [1 << 13, LARGE])
def test_kernels_flush_and_numpy_does_not(size: int) -> None:
    x = gg.input("x", ("n",))
    graph = gg.Graph({"half": x * 0.5, "exp": gg.exp(x * 1e38 * 1e3), "sum": gg.sum(x * 0.25)})
    fused, plain = gg.compile(graph, fuse=True), gg.compile(graph)
    before = control_word()
    tiny = np.full(size, 1e-39, np.float32)
    found, kept = fused(x=tiny), plain(x=tiny)
    assert fused.program(n=size).kernels and not found["half"].any() and found["sum"] == 0
    assert kept["half"].all() and (found["exp"] == 1).all() and (kept["exp"] > 1).all()
    usual = np.linspace(1, 2, size, dtype=np.float32)
    np.testing.assert_array_equal(fused(x=usual)["half"], usual * np.float32(0.5))
    assert control_word() & ~0x3F == before & ~0x3F and not before & FLUSH
    assert tiny[0] * np.float32(0.5) > 0, "the thread that called computes as before"


HALVING = """def kernel(first: int64, last: int64, arguments: int64):
    given = array(arguments, int64, 1)
    x = array(given[0], float32, 16)
    for block in range(first, last):
        x[block] = x[block] * 0.5
"""


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_thread_of_a_pool_flushes(threads: int) -> None:
    pool, x = Pool(threads), np.full(16, 1e-39, np.float32)
    words = np.array([x.ctypes.data], np.int64)
    table = np.array([[compile_kernel(HALVING), 16, True, words.ctypes.data]], np.int64)
    compiled_run_rows()(pool.words.ctypes.data, table.ctypes.data, 0, 1)
    assert not x.any()


def test_a_program_in_another_thread_leaves_that_one_as_it_was() -> None:
    run = gg.compile(gg.Graph({"y": gg.input("x", ("n",)) * 0.5}), fuse=True)
    words: list[int] = []

    def use() -> None:
        words.append(control_word())
        run(x=np.ones(1 << 13, np.float32))
        words.append(control_word())

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert words[0] & FLUSH == words[1] & FLUSH == 0


def test_moments_decay_to_zero() -> None:
    """Rounded to nearest, 0.9 times the smallest subnormals is the same number, for ever."""
    w = gg.parameter("w", (1 << 13,), gg.full(1.0))
    graph = gg.adam(gg.Graph({"loss": gg.sum(w * gg.input("scale", ()))}), 1e-3)
    moments = [name for name in graph.states if graph.states[name].shape == w.shape and name != "w"]
    left = []
    for fuse in (True, False):
        run, state = gg.compile(graph, fuse=fuse), gg.initial_state(graph)
        for name in moments:
            state[name][:] = 1.18e-38
        for _ in range(100):
            run(state, scale=0.0)
        left.append([float(np.abs(state[name]).max()) for name in moments])
    assert len(moments) == 2 and left[0] == [0.0, 0.0] and max(left[1]) > 0
