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
    exchange_if,
    fetch_add,
    float_control,
    int64,
    loop_function,
    pause,
    set_float_control,
    shared_load,
)

WAIT, POST, TRY, MUTEX, COUNT, RUNS, FUNCTION, ARGUMENTS, RUN, PLACES = range(10)
"""Indices of a pool's words: addresses of the C library's `sem_wait`, `sem_post`, `sem_trywait` and
of the mutex; the number of workers; how many kernels ran; the kernel that is shared now, its
arguments and its number; and the first of the places, one for each thread, the caller's first."""
NEXT, LAST, STATE, WAKE, DONE = range(5)
"""Indices of a place's words: the next block of its share, and the share's end; what its worker
does; the addresses of the semaphores that wake the worker, and that it posts for a caller that
sleeps."""
PLACE = 16
"""Words of a place: two cache lines, so that no two threads write to the same one."""
IDLE, POSTED, ASLEEP, RUNNING, AWAITED = range(5)
"""What a worker does: waits for work, has been given some, sleeps, works, works while the caller
sleeps."""
TURNS = 1000
"""How often a thread looks for what it waits for before it sleeps: 20 to 40 microseconds."""


@loop_function()
def take_blocks(words: int64, mine: int64, run: int64):
    """Computes blocks of the thread's own share, one by one, and then of the others'."""
    pool = array(words, int64, PLACES)
    threads = pool[COUNT] + 1
    for turn in range(threads):
        place = words + 8 * (PLACES + (mine + turn) % threads * PLACE)
        last = array(place, int64, PLACE)[LAST]
        block = fetch_add(place + 8 * NEXT, 1)
        while block < last:
            call_blocks(pool[FUNCTION], block, block + 1, pool[ARGUMENTS], mine, run)
            block = fetch_add(place + 8 * NEXT, 1)


@loop_function()
def worker_loop(words: int64, mine: int64):
    """The loop of a worker: waits until it is given work, takes blocks, says that it is done."""
    pool = array(words, int64, PLACES)
    place = words + 8 * (PLACES + mine * PLACE)
    own = array(place, int64, PLACE)
    state = place + 8 * STATE
    while True:
        turns = int64(0)
        while shared_load(state) != POSTED and turns < TURNS:
            pause()
            turns = turns + 1
        if exchange_if(state, IDLE, ASLEEP) == IDLE:
            # a signal may interrupt the wait
            while call_c(pool[WAIT], own[WAKE], 0, 0) != 0:
                pass
        if exchange_if(state, POSTED, RUNNING) == POSTED:
            before = float_control()
            set_float_control(before | FLUSH)
            take_blocks(words, mine, pool[RUN])
            set_float_control(before)
            if exchange_if(state, RUNNING, IDLE) != RUNNING:
                exchange_if(state, AWAITED, IDLE)
                call_c(pool[POST], own[DONE], 0, 0)


@loop_function()
def run_shared(words: int64, function: int64, blocks: int64, arguments: int64, run: int64):
    """Gives each thread a share of the blocks, takes blocks, and waits for workers that have one.

    A worker that has not begun by then, because another process has its core, is not waited for.
    """
    pool = array(words, int64, PLACES)
    threads = pool[COUNT] + 1
    pool[FUNCTION], pool[ARGUMENTS], pool[RUN] = function, arguments, run
    part = (blocks + threads - 1) // threads
    for number in range(threads):
        share = array(words + 8 * (PLACES + number * PLACE), int64, PLACE)
        share[NEXT] = min(number * part, blocks)
        share[LAST] = min((number + 1) * part, blocks)
    woken = min(threads, blocks)
    for number in range(1, woken):
        worker = array(words + 8 * (PLACES + number * PLACE), int64, PLACE)
        state = words + 8 * (PLACES + number * PLACE + STATE)
        if exchange_if(state, IDLE, POSTED) == ASLEEP:
            exchange_if(state, ASLEEP, POSTED)
            call_c(pool[POST], worker[WAKE], 0, 0)
    take_blocks(words, 0, run)
    for number in range(1, woken):
        awaited = array(words + 8 * (PLACES + number * PLACE), int64, PLACE)
        state = words + 8 * (PLACES + number * PLACE + STATE)
        if exchange_if(state, POSTED, IDLE) == RUNNING:
            turns = int64(0)
            while shared_load(state) == RUNNING and turns < TURNS:
                pause()
                turns = turns + 1
            if exchange_if(state, RUNNING, AWAITED) == RUNNING:
                while call_c(pool[WAIT], awaited[DONE], 0, 0) != 0:
                    pass


@loop_function()
def run_rows(words: int64, rows: int64, begin: int64, end: int64):
    """Runs rows of a call table: (function, blocks, shared, arguments)."""
    pool = array(words, int64, PLACES)
    table = array(rows, int64, end, 4)
    before = float_control()
    set_float_control(before | FLUSH)
    for row in range(begin, end):
        function, blocks, arguments = table[row, 0], table[row, 1], table[row, 3]
        run = fetch_add(words + 8 * RUNS, 1) + 1
        alone = True
        if table[row, 2] != 0 and pool[COUNT] > 0:
            # if two programs run at once, the second uses its own thread alone
            alone = call_c(pool[TRY], pool[MUTEX], 0, 0) != 0
        if alone:
            call_blocks(function, 0, blocks, arguments, 0, run)
        else:
            run_shared(words, function, blocks, arguments, run)
            call_c(pool[POST], pool[MUTEX], 0, 0)
    set_float_control(before)
