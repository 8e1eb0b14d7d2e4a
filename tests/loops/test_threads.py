"""The thread pool: every block runs once, with any number of threads, also after a fork."""

import math
import multiprocessing
import threading

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native calls are compiled by LLVM")

from graphgrad.loops.kernel_cache import compile_add_partial_sums, compile_kernel
from graphgrad.loops.threads import COUNT, Pool, compiled_run_rows

COUNTING = """def kernel(first: int64, last: int64, arguments: int64):
    given = array(arguments, int64, 1)
    done = array(given[0], int64, 16)
    for block in range(first, last):
        for turn in range(100000):
            done[block] += turn % 2
"""


def counted(pool: Pool, blocks: int, shared: bool, times: int = 1) -> np.ndarray:
    """The counts of 16 blocks after some calls."""
    done, kernel = np.zeros(16, np.int64), compile_kernel(COUNTING)
    words = np.array([done.ctypes.data], np.int64)
    table = np.array([[kernel, blocks, shared, words.ctypes.data]], np.int64)
    for _ in range(times):
        compiled_run_rows()(pool.words.ctypes.data, table.ctypes.data, 0, 1)
    return done // 50000


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("blocks", [1, 2, 7, 16])
@pytest.mark.parametrize("shared", [False, True])
def test_every_block_is_done_once(threads, blocks, shared):
    expected = [3] * blocks + [0] * (16 - blocks)
    assert counted(Pool(threads), blocks, shared, times=3).tolist() == expected


def test_two_callers_at_once_do_not_mix_their_work():
    pool, results = Pool(2), []
    callers = [
        threading.Thread(target=lambda: results.append(counted(pool, 16, True, 50)))
        for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [set(result.tolist()) for result in results] == [{50}] * 3


def test_a_forked_process_has_threads_of_its_own():
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    pool = Pool(2)
    assert counted(pool, 16, True).tolist() == [1] * 16
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put(counted(pool, 16, True, 3).tolist()))
    child.start()
    child.join(60)
    if child.exitcode is None:
        child.kill()
    assert child.exitcode == 0 and results.get() == [3] * 16


def test_on_linux_there_are_workers():
    assert Pool(3).words[COUNT] == 2
    assert Pool(1).words[COUNT] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_parts_are_added_to_the_nearest_number(dtype):
    generator = np.random.default_rng(0)
    parts = (generator.standard_normal((5, 7)) * 1e3).astype(dtype)
    total = np.full(7, 9, dtype)
    kernel = compile_add_partial_sums(dtype)
    words = np.array([5, 7, parts.ctypes.data, total.ctypes.data], np.int64)
    table = np.array([[kernel, 1, 0, words.ctypes.data]], np.int64)
    compiled_run_rows()(Pool(1).words.ctypes.data, table.ctypes.data, 0, 1)
    expected = [math.fsum(column) for column in parts.T.tolist()]
    assert np.array_equal(total, np.array(expected).astype(dtype))
