"""Busy processes: that they are busy, and end with the bench however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graphgrad.performance.bench_busy import Meter, busy_processes
from graphgrad.performance.bench_process import default_threads

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

PARENT = """
import sys, time
from graphgrad.performance.bench_busy import busy_processes
with busy_processes(1) as busy:
    print(busy.processes[0].pid, flush=True)
    time.sleep(60)
"""


def gone(process: int) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(200):
        try:
            os.kill(process, 0)
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return True
        if state in "ZX":  # ended, and nobody has asked how
            return True
        time.sleep(0.05)
    return False


def test_they_are_busy_and_not_counted_as_other_programs() -> None:
    with busy_processes(1) as busy:
        (process,) = busy.processes
        meter = Meter([busy])
        started = busy.processor_seconds
        while busy.processor_seconds < started + 0.3:
            time.sleep(0.02)
        assert meter.elsewhere() is not None
        assert meter.own[0].processor_seconds >= started + 0.3
    assert process.poll() is not None
    with pytest.raises(Exception, match="cannot run at once"), busy_processes(10_000):
        pass


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_they_end_with_the_bench(ending: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None and default_threads() >= 1
        process = int(parent.stdout.readline())
        assert Path(f"/proc/{process}").exists()
        parent.send_signal(ending)
        parent.wait()
        assert gone(process)
