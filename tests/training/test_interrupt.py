"""Stopping on request: noted first, forced second, handlers put back."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from graphgrad.training import interrupt
from graphgrad.training.interrupt import InterruptGuard

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ROOT = Path(interrupt.__file__).parents[2]


def handlers():
    return [signal.getsignal(number) for number in NUMBERS]


@pytest.fixture(autouse=True)
def unchanged_handlers():
    before = handlers()
    yield
    after = handlers()
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)
    assert after == before


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_is_only_noted(number):
    with InterruptGuard() as guard:
        assert not guard.requested and guard.signal_name == ""
        os.kill(os.getpid(), number)
        assert guard.requested
    assert guard.requested and guard.signal_name == number.name


@pytest.mark.parametrize("first", NUMBERS)
def test_a_further_sigint_stops_at_once(first):
    with pytest.raises(KeyboardInterrupt), InterruptGuard() as guard:
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second SIGINT was not raised")
    assert guard.signal_name == first.name


def test_a_further_sigterm_changes_nothing():
    with InterruptGuard() as guard:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert guard.signal_name == "SIGINT"


def test_handlers_come_back_after_an_error():
    def mine(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with pytest.raises(ZeroDivisionError), InterruptGuard():
            assert signal.getsignal(signal.SIGTERM) is not mine
            raise ZeroDivisionError
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with InterruptGuard() as guard:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGINT)
            assert not guard.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_guards_nest():
    with InterruptGuard() as outer:
        with InterruptGuard() as inner:
            os.kill(os.getpid(), signal.SIGINT)
        assert inner.requested and not outer.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert outer.requested


def test_outside_the_main_thread_it_does_nothing():
    seen = []

    def work():
        before = handlers()
        with InterruptGuard() as guard:
            seen.append((handlers() == before, guard.requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(True, False)]


SCRIPT = """
import time
from graphgrad.training.interrupt import InterruptGuard
with InterruptGuard() as guard:
    print("ready", flush=True)
    for step in range(1000):
        time.sleep(0.01)
        if guard.requested:
            print("saved once by", guard.signal_name)
            break
"""


@pytest.mark.parametrize("number", NUMBERS)
def test_a_real_process_finishes_its_step(number):
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, f"saved once by {number.name}\n")
