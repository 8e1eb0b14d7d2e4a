"""Runs compiled kernels on a thread pool, without returning to Python.

Each kernel call of a program is a row of its call table: a function, the address of its arguments,
and the number of blocks that its work is divided into. A function `f(first, last, arguments,
thread, run)` computes the blocks from `first` to before `last`; it may use the thread's number
(for memory of its own) and of the run. Each thread has a share of the blocks, which it takes one by
one from a counter, and takes from the others' when it is through. So a thread whose core is busy
elsewhere leaves its blocks to the others, and what is in the cache of a core is mostly used there.
Nobody waits for a thread that has not begun. The number of blocks depends on the work alone, so the
result is the same for any number of threads.

A thread that waits looks some microseconds long, as the next kernel is near, and then sleeps on a
semaphore of the C library: a core that another process needs is left to it. OpenBLAS's threads,
however, spin for milliseconds after every matrix product, and if there are as many of them as
cores, ours have to wait: measured on two cores, a second thread gains nothing between products. So
where products are OpenBLAS's only large kernels are shared. If the C library has no semaphores, one
thread does everything.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from functools import cache

import numpy as np

from graphgrad.loops.compiled_functions import compile_function
from graphgrad.loops.library import threads as library
from graphgrad.loops.library.threads import (
    COUNT,
    DONE,
    MUTEX,
    PLACE,
    PLACES,
    POST,
    STATE,
    TRY,
    WAIT,
    WAKE,
)

SEMAPHORE_BYTES = 64
"""More than the semaphore of any C library, and a whole cache line."""


@cache
def compiled_run_rows() -> Callable[[int, int, int, int], None]:
    """The compiled function that runs the rows `begin` to before `end` of a call table.

    The table is int64[rows, 4]: (function, blocks, shared, arguments). The function takes the
    addresses of a pool's words and of the table, `begin` and `end`.
    """
    return compile_function(library.run_rows)


class Pool:
    """Worker threads; `run_rows` takes the address of `words`."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._memory = np.zeros(PLACES + PLACE * (threads + 1), np.int64)
        start = -(self._memory.ctypes.data // 8 + PLACES) % PLACE
        self.words = self._memory[start : start + PLACES + PLACE * threads]
        self._semaphores = np.zeros((2 * threads, SEMAPHORE_BYTES), np.uint8)
        self._start()
        if threads > 1 and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start)  # threads do not survive a fork

    def _start(self) -> None:
        functions = _c_functions("sem_init", "sem_wait", "sem_post", "sem_trywait")
        if not functions or self.threads < 2:
            return
        initialise = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint)(
            functions[0]
        )
        addresses = [row.ctypes.data for row in self._semaphores]
        for number, address in enumerate(addresses):
            if initialise(address, 0, int(number == 0)) != 0:
                return  # this system declares semaphores without implementing them
        worker_loop = compile_function(library.worker_loop)
        self.words[[WAIT, POST, TRY]] = functions[1:]
        self.words[MUTEX] = addresses[0]
        for number in range(1, self.threads):
            place = PLACES + number * PLACE
            self.words[[place + WAKE, place + DONE]] = addresses[2 * number : 2 * number + 2]
            self.words[place + STATE] = library.IDLE
            name, arguments = f"graphgrad-{number}", (self.words.ctypes.data, number)
            threading.Thread(target=worker_loop, args=arguments, name=name, daemon=True).start()
        self.words[COUNT] = self.threads - 1


def _c_functions(*names: str) -> tuple[int, ...]:
    """The addresses of functions of the C library; empty if one is missing."""
    if sys.platform == "win32":
        return ()
    library = ctypes.CDLL(None)
    try:
        found = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names]
    except AttributeError:
        return ()
    return tuple(address or 0 for address in found)


@cache
def shared_pool(threads: int) -> Pool:
    """The pool with this number of threads, shared by all programs."""
    return Pool(threads)


def usable_cores() -> int:
    """The number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
