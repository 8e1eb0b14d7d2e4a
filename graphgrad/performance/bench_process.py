"""Starts and ends the processes of a bench, in equal and clean environments.

A variable that slows one library down (a forced BLAS kernel, a disabled compiler, a number of
threads) is removed for all. Threads are limited by the processors that a process may use, which
every library respects. Requests and answers are lines of JSON. A worker that does not answer in
time is killed; a worker whose parent has ended reads the end of its input and ends.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from graphgrad.errors import EnvironmentLimitError
from graphgrad.performance import bench_worker
from graphgrad.performance.blas import (
    KERNEL_VARIABLES,
    OTHER_VARIABLES,
    THREAD_VARIABLES,
    examine_blas,
)

CRIPPLING = frozenset(
    (
        *(
            name
            for group in (*KERNEL_VARIABLES.values(), *THREAD_VARIABLES.values())
            for name in group
        ),
        *OTHER_VARIABLES,
        "ATEN_CPU_CAPABILITY",
        "DNNL_MAX_CPU_ISA",
        "ONEDNN_MAX_CPU_ISA",
        "TORCH_COMPILE_DISABLE",
        "TORCHDYNAMO_DISABLE",
        "TORCH_SHOW_CPP_STACKTRACES",
        "XLA_FLAGS",
        "JAX_DISABLE_JIT",
        "JAX_ENABLE_X64",
        "JAX_DEBUG_NANS",
        "JAX_COMPILATION_CACHE_DIR",
        "JAX_DEFAULT_MATMUL_PRECISION",
        "PYTENSOR_FLAGS",
        "NUMEXPR_NUM_THREADS",
        "OMP_WAIT_POLICY",
        "OMP_PROC_BIND",
        "OMP_PLACES",
        "OMP_DYNAMIC",
        "GOMP_CPU_AFFINITY",
        "GOMP_SPINCOUNT",
        "KMP_AFFINITY",
        "KMP_BLOCKTIME",
        "MKL_DYNAMIC",
        "OPENBLAS_THREAD_TIMEOUT",
        "PYTHONDEVMODE",
        "PYTHONMALLOC",
        "PYTHONTRACEMALLOC",
        "PYTHONPROFILEIMPORTTIME",
        "NPROC",
    )
)
"""Variables that make one library slower or faster than by default."""

ADDED = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"}
"""Makes every contender run on the processor."""
ADDED_ON_DEVICE = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONHASHSEED": "0"}
"""Leaves the memory of a device to all contenders: JAX would take three quarters of it."""


def clean_environment(
    environment: Mapping[str, str], device: bool = False
) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """The environment of the workers, on the processor or with the CUDA device, and the variables
    that were removed from it."""
    dropped = tuple(sorted((k, v) for k, v in environment.items() if k in CRIPPLING))
    kept = {name: value for name, value in environment.items() if name not in CRIPPLING}
    return {**kept, **(ADDED_ON_DEVICE if device else ADDED)}, dropped


def default_threads() -> int:
    """The physical cores that a process may keep busy."""
    return examine_blas(measure=False).cores


@contextmanager
def processors(count: int) -> Iterator[None]:
    """Limits processes that are started inside to `count` of this process's processors.

    Raises EnvironmentLimitError if there are fewer, or if the system cannot limit them.
    """
    try:
        before = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        if count != default_threads():
            raise EnvironmentLimitError(
                "this system cannot limit the processors of a process", "", "leave --threads out"
            ) from None
        yield
        return
    if not 1 <= count <= len(before):
        raise EnvironmentLimitError(
            f"{count} threads cannot run at once here", "", f"choose --threads 1 to {len(before)}"
        )
    os.sched_setaffinity(0, cores_first(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores_first(allowed: Iterable[int], root: Path = Path("/")) -> list[int]:
    """The processors, first one of every core, then the others."""
    first: list[int] = []
    second: list[int] = []
    seen: set[str] = set()
    for number in sorted(allowed):
        file = root / f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
        try:
            core = file.read_text()
        except OSError:
            core = str(number)
        (second if core in seen else first).append(number)
        seen.add(core)
    return first + second


@contextmanager
def start_errors() -> Iterator[None]:
    """Turns an OSError of a starting process into EnvironmentLimitError."""
    try:
        yield
    except OSError as problem:
        raise EnvironmentLimitError(f"no process starts: {problem}") from None


class Worker:
    """The process of one contender; a context manager that ends it."""

    def __init__(
        self, name: str, file: str, variant: str, environment: Mapping[str, str], threads: int
    ) -> None:
        """Starts the process. `file` declares the contender, see `bench_worker`."""
        self.name, self.threads = name, threads
        # -P keeps the file's folder, whose files are named like standard modules, off the path
        command = [sys.executable, "-P", bench_worker.__file__, file, variant]
        with ExitStack() as opened:
            self._errors = opened.enter_context(tempfile.TemporaryFile())
            with start_errors(), processors(threads):
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    env=dict(environment),
                    start_new_session=True,
                    text=True,
                )
            opened.pop_all()  # from here on __exit__ closes it
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, request: str, limit: float, **arguments: Any) -> dict[str, Any]:
        """Sends a request and returns the answer.

        Raises EnvironmentLimitError if there is none within `limit` seconds.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"request": request, **arguments}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._failed("its process has ended") from None
        try:
            line = self._lines.get(timeout=limit)
        except queue.Empty:
            raise EnvironmentLimitError(
                f"{self.name} did not answer {request!r} within {limit:g} s",
                "",
                "give it a smaller --size, or fewer --steps",
            ) from None
        if not line:
            self._lines.put("")  # the next request reads it again
            raise self._failed("its process has ended")
        answer: dict[str, Any] = json.loads(line)
        if "failure" in answer:
            raise self._failed(answer["failure"])
        return answer

    @property
    def processor_seconds(self) -> float:
        """Seconds of processor time used so far; 0 if the system does not report it."""
        return processor_seconds_of(self._process.pid)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _failed(self, reason: str) -> EnvironmentLimitError:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        last = lines[-1].strip() if lines else ""
        more = "" if not last or last in reason else f" ({last})"
        return EnvironmentLimitError(f"{self.name} failed: {reason.splitlines()[0]}{more}")

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()  # nothing to flush: safe to kill
        self._process.wait()
        self._reader.join()
        with suppress(OSError):  # requests that were not read
            self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()


def processor_seconds_of(process: int) -> float:
    """Seconds of processor time of a process and its threads; 0 if the system does not report
    it."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
        fields = text.rpartition(")")[2].split()  # the name in brackets can be any text
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return 0.0


def busy_seconds() -> float | None:
    """Seconds that all processors of the machine were busy, for any program; None if unknown."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, _, _, interrupts, soft, stolen = map(int, fields)
        ticks = user + nice + system + interrupts + soft + stolen
        return ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
