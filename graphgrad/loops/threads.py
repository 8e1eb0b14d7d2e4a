"""Calls of compiled code by address, on the project's own threads, without Python in between.

What a program computes natively is a row of its call table: a function, the address of its
arguments, and into how many blocks its work is cut. A function `f(first, last, arguments)` does the
blocks from `first` to `last`; `launch` hands each thread its share. Into how many blocks is decided
by the work alone, so the result is the same with one thread as with many.

The threads sleep on semaphores of the C library: waking one costs a few microseconds, and a core
that another process needs is left to it. OpenBLAS's own threads, though, go on spinning for
milliseconds after every product, and with as many of them as cores ours have to wait for a place:
measured on two cores, a second thread gains nothing between products. (Keeping it off the caller's
core, or giving it shorter time slices, made some kernels faster and more of them slower; cutting
the products into blocks for our own threads lost more in the products.) So only large kernels are
shared. Where the C library has no semaphores, one thread does everything.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from functools import cache

import numpy as np

from graphgrad.loops.compiled_functions import exported
from graphgrad.loops.library import threads as library
from graphgrad.loops.library.threads import (
    COUNT,
    DONE,
    FIRST_WORKER,
    MAIL,
    MUTEX,
    POST,
    TRY,
    WAIT,
    WAKE,
)

SEMAPHORE_BYTES = 64
"""More than any C library's semaphore, and a cache line of its own."""


@cache
def launch() -> Callable[[int, int, int, int], None]:
    """Runs the rows `begin` to `end` of a call table, int64[rows, 4]: (function, blocks, shared,
    arguments). It is given the addresses of a pool's words and of the table, `begin` and `end`."""
    return exported(library.launch)


class Pool:
    """Threads that wait for blocks; `launch` takes the address of `words`."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.words = np.zeros(FIRST_WORKER + MAIL * (threads - 1), np.int64)
        self._semaphores = np.zeros((threads + 1, SEMAPHORE_BYTES), np.uint8)
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
        places = [row.ctypes.data for row in self._semaphores]
        for number, place in enumerate(places):
            if initialise(place, 0, int(number == 0)) != 0:
                return  # there are none on this system, although the name is there
        serve = exported(library.serve)
        self.words[[WAIT, POST, TRY]] = functions[1:]
        self.words[[MUTEX, DONE]] = places[:2]
        for number, place in enumerate(places[2:]):
            mail = FIRST_WORKER + number * MAIL
            self.words[mail + WAKE] = place
            name = f"graphgrad-{number + 1}"
            arguments = (self.words.ctypes.data, mail)
            threading.Thread(target=serve, args=arguments, name=name, daemon=True).start()
        self.words[COUNT] = self.threads - 1


def _c_functions(*names: str) -> tuple[int, ...]:
    """Addresses of functions of the C library; none where one is missing."""
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
    """One pool for each number of threads, shared by all programs."""
    return Pool(threads)


def usable_cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
