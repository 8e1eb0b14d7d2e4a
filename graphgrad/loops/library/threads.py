"""The loops of the thread pool: workers, the distribution of work, and the call table.

loops/threads.py starts the threads and describes the protocol. On every thread kernels run with
subnormal numbers flushed to zero (float_control.py), and what calls them does not.
"""

from __future__ import annotations

from graphgrad.loops.float_control import FLUSH
from graphgrad.loops.language import (
    array,
    call_blocks,
    call_c,
    float_control,
    int64,
    loop_function,
    set_float_control,
)

WAIT, POST, TRY, MUTEX, DONE, COUNT, FIRST_WORKER = range(7)
"""Indices of a pool's words: addresses of the C library's `sem_wait`, `sem_post`, `sem_trywait`, of
the mutex and of the semaphore that workers post when they are done; the number of workers; and the
first of the mailboxes, one for each worker."""
WAKE, FUNCTION, FIRST, LAST, ARGUMENTS, MAILBOX = range(6)
"""Indices of a mailbox's words: the address of the worker's semaphore and its work; its length."""


@loop_function()
def worker_loop(words: int64, mailbox: int64):
    """The loop of a worker: sleeps until its semaphore is posted, runs its blocks, posts `DONE`."""
    pool = array(words, int64, FIRST_WORKER)
    mine = array(words + 8 * mailbox, int64, MAILBOX)
    while True:
        # a signal may interrupt the wait
        while call_c(pool[WAIT], mine[WAKE], 0, 0) != 0:
            pass
        before = float_control()
        set_float_control(before | FLUSH)
        call_blocks(mine[FUNCTION], mine[FIRST], mine[LAST], mine[ARGUMENTS])
        set_float_control(before)
        call_c(pool[POST], pool[DONE], 0, 0)


@loop_function()
def run_shared(words: int64, function: int64, blocks: int64, arguments: int64):
    """Assigns blocks to the workers, runs the first share, waits for the others."""
    pool = array(words, int64, FIRST_WORKER)
    part = (blocks + pool[COUNT]) // (pool[COUNT] + 1)
    woken = int64(0)
    for first in range(part, blocks, part):
        mailbox = array(words + 8 * (FIRST_WORKER + woken * MAILBOX), int64, MAILBOX)
        mailbox[FUNCTION] = function
        mailbox[FIRST] = first
        mailbox[LAST] = min(first + part, blocks)
        mailbox[ARGUMENTS] = arguments
        call_c(pool[POST], mailbox[WAKE], 0, 0)
        woken = woken + 1
    call_blocks(function, 0, part, arguments)
    for _ in range(woken):
        while call_c(pool[WAIT], pool[DONE], 0, 0) != 0:
            pass


@loop_function()
def run_rows(words: int64, rows: int64, begin: int64, end: int64):
    """Runs rows of a call table: (function, blocks, shared, arguments)."""
    pool = array(words, int64, FIRST_WORKER)
    table = array(rows, int64, end, 4)
    before = float_control()
    set_float_control(before | FLUSH)
    for row in range(begin, end):
        function, blocks, arguments = table[row, 0], table[row, 1], table[row, 3]
        alone = True
        if table[row, 2] != 0 and pool[COUNT] > 0:
            # if two programs run at once, the second uses its own thread alone
            alone = call_c(pool[TRY], pool[MUTEX], 0, 0) != 0
        if alone:
            call_blocks(function, 0, blocks, arguments)
        else:
            run_shared(words, function, blocks, arguments)
            call_c(pool[POST], pool[MUTEX], 0, 0)
    set_float_control(before)
