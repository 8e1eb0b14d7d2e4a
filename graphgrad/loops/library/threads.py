"""Threads that wait for blocks of work, and what hands it to them; see loops/threads.py."""

from __future__ import annotations

from graphgrad.loops.language import array, call_blocks, call_c, int64, loop_function

WAIT, POST, TRY, MUTEX, DONE, COUNT, FIRST_WORKER = range(7)
"""Where a pool's array of words holds what; after `FIRST_WORKER` come `MAIL` words for each."""
WAKE, FUNCTION, FIRST, LAST, ARGUMENTS, MAIL = range(6)


@loop_function()
def serve(words: int64, mail: int64):
    """A worker's life: sleeps until its semaphore is posted, does its blocks, posts `DONE`."""
    pool = array(words, int64, FIRST_WORKER)
    mine = array(words + 8 * mail, int64, MAIL)
    while True:
        # a signal may end the wait early; then it is taken up again
        while call_c(pool[WAIT], mine[WAKE], 0, 0) != 0:
            pass
        call_blocks(mine[FUNCTION], mine[FIRST], mine[LAST], mine[ARGUMENTS])
        call_c(pool[POST], pool[DONE], 0, 0)


@loop_function()
def share(words: int64, function: int64, blocks: int64, arguments: int64):
    """Hands the workers their blocks, does the first share, waits for the others."""
    pool = array(words, int64, FIRST_WORKER)
    part = (blocks + pool[COUNT]) // (pool[COUNT] + 1)
    woken = int64(0)
    for first in range(part, blocks, part):
        mail = array(words + 8 * (FIRST_WORKER + woken * MAIL), int64, MAIL)
        mail[FUNCTION] = function
        mail[FIRST] = first
        mail[LAST] = min(first + part, blocks)
        mail[ARGUMENTS] = arguments
        call_c(pool[POST], mail[WAKE], 0, 0)
        woken = woken + 1
    call_blocks(function, 0, part, arguments)
    for _ in range(woken):
        while call_c(pool[WAIT], pool[DONE], 0, 0) != 0:
            pass


@loop_function()
def launch(words: int64, rows: int64, begin: int64, end: int64):
    """Runs the rows `begin` to `end` of a call table: (function, blocks, shared, arguments)."""
    pool = array(words, int64, FIRST_WORKER)
    table = array(rows, int64, end, 4)
    for row in range(begin, end):
        function, blocks, arguments = table[row, 0], table[row, 1], table[row, 3]
        alone = True
        if table[row, 2] != 0 and pool[COUNT] > 0:
            # two programs may run at once: the second does its work alone
            alone = call_c(pool[TRY], pool[MUTEX], 0, 0) != 0
        if alone:
            call_blocks(function, 0, blocks, arguments)
        else:
            share(words, function, blocks, arguments)
            call_c(pool[POST], pool[MUTEX], 0, 0)
