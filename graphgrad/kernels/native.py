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
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graphgrad.kernels.keep import kept

WAIT, POST, TRY, MUTEX, DONE, COUNT, FIRST_WORKER = range(7)
"""Where a pool's array of words holds what; after `FIRST_WORKER` come `MAIL` words for each."""
WAKE, FUNCTION, FIRST, LAST, ARGUMENTS, MAIL = range(6)
SEMAPHORE_BYTES = 64
"""More than any C library's semaphore, and a cache line of its own."""


def _pointer(context: Any, address: Any, dtype: Any) -> Any:
    """The address as a pointer to numbers of this type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(dtype.dtype)(types.int64, dtype), generate


pointer: Any = intrinsic(_pointer)


def _call_blocks(context: Any, address: Any, first: Any, last: Any, arguments: Any) -> Any:
    """Calls the function at an address: `f(first, last, arguments)`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word, word, word]).as_pointer()
        builder.call(builder.inttoptr(values[0], kind), values[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


call_blocks: Any = intrinsic(_call_blocks)


def _call_c(context: Any, address: Any, first: Any, second: Any, third: Any) -> Any:
    """Calls a function of the C library that takes up to three words and returns an int.

    What it does not take lies in registers that it does not read.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.IntType(32), [word, word, word]).as_pointer()
        return builder.sext(builder.call(builder.inttoptr(values[0], kind), values[1:]), word)

    return types.int64(types.int64, types.int64, types.int64, types.int64), generate


call_c: Any = intrinsic(_call_c)


@kept("void(int64[::1], int64)")
def _serve(pool, mail):  # type: ignore[no-untyped-def]
    """A worker's life: sleeps until its semaphore is posted, does its blocks, posts `DONE`."""
    while True:
        # a signal may end the wait early; then it is taken up again
        while call_c(pool[WAIT], pool[mail + WAKE], 0, 0) != 0:
            pass
        call_blocks(
            pool[mail + FUNCTION], pool[mail + FIRST], pool[mail + LAST], pool[mail + ARGUMENTS]
        )
        call_c(pool[POST], pool[DONE], 0, 0)


@kept("void(int64[::1], int64, int64, int64)")
def _share(pool, function, blocks, arguments):  # type: ignore[no-untyped-def]
    """Hands the workers their blocks, does the first share, waits for the others."""
    share = (blocks + pool[COUNT]) // (pool[COUNT] + 1)
    woken = 0
    for first in range(share, blocks, share):
        mail = FIRST_WORKER + woken * MAIL
        pool[mail + FUNCTION] = function
        pool[mail + FIRST] = first
        pool[mail + LAST] = min(first + share, blocks)
        pool[mail + ARGUMENTS] = arguments
        call_c(pool[POST], pool[mail + WAKE], 0, 0)
        woken += 1
    call_blocks(function, 0, share, arguments)
    for _ in range(woken):
        while call_c(pool[WAIT], pool[DONE], 0, 0) != 0:
            pass


@kept("void(int64[::1], int64[:, ::1], int64, int64)")
def launch(pool, table, begin, end):  # type: ignore[no-untyped-def]
    """Runs the rows `begin` to `end` of a call table: (function, blocks, shared, arguments)."""
    for row in range(begin, end):
        function, blocks, arguments = table[row, 0], table[row, 1], table[row, 3]
        # two programs may run at once: the second does its work alone
        if table[row, 2] != 0 and pool[COUNT] > 0 and call_c(pool[TRY], pool[MUTEX], 0, 0) == 0:
            _share(pool, function, blocks, arguments)
            call_c(pool[POST], pool[MUTEX], 0, 0)
        else:
            call_blocks(function, 0, blocks, arguments)


class Pool:
    """Threads that wait for blocks; `words` is what `launch` takes."""

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
        self.words[[WAIT, POST, TRY]] = functions[1:]
        self.words[[MUTEX, DONE]] = places[:2]
        for number, place in enumerate(places[2:]):
            mail = FIRST_WORKER + number * MAIL
            self.words[mail + WAKE] = place
            name = f"graphgrad-{number + 1}"
            threading.Thread(target=_serve, args=(self.words, mail), name=name, daemon=True).start()
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
