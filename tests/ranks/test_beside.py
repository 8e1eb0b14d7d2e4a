"""Exchanges beside the computation: their order, their errors, their thread and their link."""

import gc
import signal
import threading
import time

import numpy as np
import pytest

from graphgrad.errors import ConfigurationError, RanksError
from graphgrad.ranks import Beside, Delayed, Link, Lone, over


class Told(Lone):
    """A rank that does a call when it is allowed to, and keeps a list of them."""

    def __init__(self):
        self.allowed, self.calls = threading.Semaphore(0), []

    def all_reduce(self, out, x, kind, number):
        assert self.allowed.acquire(timeout=10.0)
        self.calls.append((number, threading.current_thread()))
        if number == 13:
            raise RanksError("rank 1 has failed")
        out[...] = 2 * x

    def gather(self, value, number, patient=False):
        assert self.allowed.acquire(timeout=10.0)
        self.calls.append((number, threading.current_thread()))
        return [value, b"other"]


def test_calls_are_done_in_their_order_by_one_thread_while_this_one_goes_on():
    told = Told()
    ranks = Beside(told)
    first, second, third = np.ones(3), np.full(2, 5.0), np.zeros(1)
    ranks.start(first, "sum", 4)
    ranks.start(second, "sum", 5)
    assert not told.calls  # both have been begun, and neither is done
    told.allowed.release(4)
    ranks.wait(5)
    assert ranks.gather(b"own", 6) == [b"own", b"other"]
    ranks.all_reduce(third, np.ones(1), "sum", 7)
    ranks.wait(4)
    assert (first.tolist(), second.tolist(), third.tolist()) == ([2.0] * 3, [10.0] * 2, [2.0])
    assert [number for number, _ in told.calls] == [4, 5, 6, 7]
    (thread,) = {thread for _, thread in told.calls}
    assert thread is not threading.current_thread()


def test_an_error_is_that_of_its_wait_and_nothing_is_begun_after_it():
    told = Told()
    told.allowed.release(9)
    ranks = Beside(told)
    for number in (12, 13, 14):
        ranks.start(np.ones(1), "sum", number)
    ranks.wait(12)
    for number in (14, 13):
        with pytest.raises(RanksError, match="rank 1 has failed"):
            ranks.wait(number)
    with pytest.raises(RanksError, match="rank 1 has failed"):
        ranks.gather(b"", 15)
    assert [number for number, _ in told.calls] == [12, 13]


def test_settling_ends_what_was_begun():
    told = Told()
    ranks = Beside(told)
    array = np.ones(1)
    ranks.start(array, "sum", 0)
    threading.Timer(0.05, told.allowed.release).start()
    ranks.settle()
    assert array[0] == 2.0
    ranks.settle()


def test_an_interrupt_is_raised_when_the_exchange_has_ended():
    told, array = Told(), np.ones(1)
    ranks = Beside(told)
    here = threading.get_ident()
    threading.Timer(0.1, signal.pthread_kill, (here, signal.SIGINT)).start()
    threading.Timer(0.3, told.allowed.release).start()
    with pytest.raises(KeyboardInterrupt):
        ranks.all_reduce(array, array, "sum", 0)
    assert array[0] == 2.0


def test_the_thread_ends_with_its_owner():
    told = Told()
    told.allowed.release()
    ranks = Beside(told)
    ranks.all_reduce(np.ones(1), np.ones(1), "sum", 0)
    ((_, thread),) = told.calls
    del ranks
    gc.collect()
    thread.join(10.0)
    assert not thread.is_alive()


def test_a_link_is_a_ring_or_a_tree():
    link = Link(latency=0.5, rate=100.0)
    assert link.reduce_seconds(800, 4) == 2 * 3 * (0.5 + 200 / 100)
    assert link.reduce_seconds(8, 4) == 2 * 2 * 0.5 + 2 * 8 / 100
    assert link.reduce_seconds(800, 2) == 2 * (0.5 + 400 / 100)
    assert link.broadcast_seconds(100, 5) == 3 * (0.5 + 1.0)
    assert link.gather_seconds(100, 3) == 2 * 1.5
    assert link.reduce_seconds(800, 1) == 0.0
    lone = Lone()
    assert over(lone, Link()) is lone
    for wrong in ({"latency": -1.0}, {"rate": 0.0}, {"latency": float("nan")}):
        with pytest.raises(ConfigurationError, match="a link has no"):
            Link(**wrong)


def test_exchanges_over_a_link_last_as_long_as_it_says():
    told = Told()
    told.size = 2
    told.allowed.release(2)
    ranks = Delayed(told, Link(0.01, 8000.0))
    out, started = np.ones(40), time.perf_counter()
    ranks.all_reduce(out, out, "sum", 0)
    assert out[0] == 2.0 and time.perf_counter() - started >= 0.02 + 0.04
    for call, seconds in (
        (lambda: ranks.reduce_scatter(np.empty(40), np.ones(40), 1), 0.01 + 0.02),
        (lambda: ranks.all_gather(np.empty(40), np.ones(40), 1), 0.01 + 0.04),
        (lambda: ranks.broadcast(np.empty(40), np.ones(40), 0, 1), 0.01 + 0.04),
    ):
        started = time.perf_counter()
        call()
        assert time.perf_counter() - started >= seconds
    started = time.perf_counter()
    assert ranks.gather(b"x" * 80, 1) == [b"x" * 80, b"other"]
    assert time.perf_counter() - started >= 0.01 + 0.01
