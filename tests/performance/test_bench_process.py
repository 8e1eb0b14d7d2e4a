"""Workers: a clean environment, equal processors, answers in time, and no process left behind."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from graphgrad.errors import EnvironmentLimitError
from graphgrad.performance.bench_process import (
    Worker,
    clean_environment,
    cores_first,
    default_threads,
    processors,
)
from graphgrad.performance.bench_worker import Workload

CONTENDER = """
import os, sys, time
print("noise on the standard output")
def facts(variant, threads):
    print("more noise")
    if variant == "raises":
        raise ValueError("no good\\nsecond line")
    if variant == "exits":
        sys.stderr.write("last words\\n")
        sys.stderr.flush()
        os._exit(3)
    if variant == "sleeps":
        time.sleep(60)
    return {"process": os.getpid(), "processors": len(os.sched_getaffinity(0)),
            "package": "graphgrad" in sys.modules}
"""
LINUX = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="the system cannot limit processors"
)
Prepare = Callable[..., tuple[Worker, Callable[[], dict[str, Any]]]]


@pytest.fixture
def start(tmp_path: Path) -> Prepare:
    """Starts a worker and gives it with a function that asks it to prepare."""
    contender, arrays = tmp_path / "contender.py", tmp_path / "arrays.safetensors"
    contender.write_text(CONTENDER)
    save_file({"parameter.w": np.zeros(1)}, str(arrays))
    workload = Workload(1, 1, 1, 1, 1, 1, 1).to_dict()

    def started(
        variant: str = "", threads: int | None = None, limit: float = 60.0
    ) -> tuple[Worker, Callable[[], dict[str, Any]]]:
        environment = clean_environment(os.environ)[0]
        threads = threads or default_threads()
        worker = Worker("a contender", str(contender), variant, environment, threads)

        def prepare() -> dict[str, Any]:
            return worker.ask(
                "prepare", limit, workload=workload, arrays=str(arrays), threads=threads
            )

        return worker, prepare

    return started


def test_what_cripples_one_contender_is_dropped_and_named() -> None:
    environment = {
        "PATH": "/bin",
        "OPENBLAS_CORETYPE": "Haswell",
        "OMP_NUM_THREADS": "1",
        "JAX_PLATFORMS": "cuda",
        "XLA_FLAGS": "--slow",
    }
    kept, dropped = clean_environment(environment)
    assert dropped == (
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_CORETYPE", "Haswell"),
        ("XLA_FLAGS", "--slow"),
    )
    assert kept["PATH"] == "/bin" and kept["JAX_PLATFORMS"] == "cpu"
    assert not {"OPENBLAS_CORETYPE", "OMP_NUM_THREADS", "XLA_FLAGS"} & set(kept)


def test_a_device_stays_visible_and_its_memory_is_for_all() -> None:
    kept, dropped = clean_environment({"CUDA_VISIBLE_DEVICES": "1", "XLA_FLAGS": "--slow"}, True)
    assert kept["CUDA_VISIBLE_DEVICES"] == "1" and "JAX_PLATFORMS" not in kept
    assert kept["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert dropped == (("XLA_FLAGS", "--slow"),)


def test_one_processor_of_every_core_is_first(tmp_path: Path) -> None:
    for number, siblings in enumerate(("0-1", "0-1", "2-3", "2-3")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings)
    assert cores_first({3, 2, 1, 0}, tmp_path) == [0, 2, 1, 3]
    assert cores_first({1, 3}, tmp_path) == [1, 3]
    assert cores_first({5, 4}, tmp_path / "nowhere") == [4, 5]


@LINUX
def test_a_worker_gets_its_processors_and_its_parent_keeps_all(start: Prepare) -> None:
    before = os.sched_getaffinity(0)
    worker, prepare = start(threads=1)
    with worker:
        assert os.sched_getaffinity(0) == before
        answer = prepare()
        assert worker.processor_seconds > 0
    assert answer["processors"] == 1
    assert not answer["package"], "a peer's process holds nothing of graphgrad"
    with pytest.raises(EnvironmentLimitError, match=f"1 to {len(before)}"), processors(10_000):
        pass


def test_its_process_is_gone_afterwards(start: Prepare) -> None:
    worker, prepare = start()
    with pytest.raises(KeyboardInterrupt), worker:
        process = prepare()["process"]
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_failure_is_the_answer(start: Prepare) -> None:
    worker, prepare = start("raises")
    with worker, pytest.raises(EnvironmentLimitError) as caught:
        prepare()
    assert caught.value.problem.startswith("a contender failed: ValueError: no good")
    assert "\n" not in caught.value.problem


def test_an_ended_process_is_reported_with_its_last_line(start: Prepare) -> None:
    worker, prepare = start("exits")
    with worker:
        for _ in range(2):
            with pytest.raises(EnvironmentLimitError, match=r"has ended \(last words\)"):
                prepare()


def test_one_that_does_not_answer_is_ended_in_time(start: Prepare) -> None:
    worker, prepare = start("sleeps", limit=1.0)
    started = time.monotonic()
    with worker, pytest.raises(EnvironmentLimitError, match="'prepare' within 1 s"):
        prepare()
    assert time.monotonic() - started < 20
