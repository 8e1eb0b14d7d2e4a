"""Processes of a bench: started in a clean environment, asked by lines of JSON, always ended.

Equal conditions are made here. A variable that cripples one library (a forced BLAS kernel, a
disabled compiler, a number of threads) is dropped for all; the threads are limited by the
processors that a process may use, which every library respects. A worker that does not answer in
time is killed, and a worker whose parent is gone reads the end of its input and ends.
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
from contextlib import contextmanager, suppress
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
"""Variables that make one library slower (or faster) than it is by itself."""

ADDED = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"}
"""Every engine runs on the processor."""


def clean_environment(
    environment: Mapping[str, str],
) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """The environment of the workers, and what was dropped from it, by name."""
    dropped = tuple(sorted((k, v) for k, v in environment.items() if k in CRIPPLING))
    kept = {name: value for name, value in environment.items() if name not in CRIPPLING}
    return {**kept, **ADDED}, dropped


def default_threads() -> int:
    """The physical cores that a process may keep busy."""
    return examine_blas(measure=False).cores


@contextmanager
def processors(count: int) -> Iterator[None]:
    """Processes started inside may use `count` of this one's processors, and inherit that.

    Raises EnvironmentLimitError where there are fewer, or where the system cannot limit them.
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
    """The processors in an order in which one of every core comes before a core's second."""
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


class Worker:
    """One engine's process; a context manager that ends it."""

    def __init__(
        self, name: str, file: str, variant: str, environment: Mapping[str, str], threads: int
    ) -> None:
        """Starts it. `file` declares the engine, see `bench_worker`."""
        self.name, self.threads = name, threads
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)
        # -P keeps the file's folder, whose files are named like standard modules, off the path
        command = [sys.executable, "-P", bench_worker.__file__, file, variant]
        try:
            with processors(threads):
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    env=dict(environment),
                    start_new_session=True,
                    text=True,
                )
        except OSError as problem:
            self._errors.close()
            raise EnvironmentLimitError(f"no process starts: {problem}") from None
        except EnvironmentLimitError:
            self._errors.close()
            raise
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, request: str, limit: float, **arguments: Any) -> dict[str, Any]:
        """The answer; EnvironmentLimitError where there is none within `limit` seconds."""
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
            self._lines.put("")  # for whoever asks again
            raise self._failed("its process has ended")
        answer: dict[str, Any] = json.loads(line)
        if "failure" in answer:
            raise self._failed(answer["failure"])
        return answer

    @property
    def processor_seconds(self) -> float:
        """Seconds of processor time used so far; 0 where the system does not say."""
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
        self._process.kill()  # it keeps nothing that is worth an orderly end
        self._process.wait()
        self._reader.join()
        with suppress(OSError):  # what was written and not read any more
            self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()


def processor_seconds_of(process: int) -> float:
    """Seconds of processor time of a process and its threads; 0 where the system does not say."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
        fields = text.rpartition(")")[2].split()  # the name in brackets may hold anything
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return 0.0


def busy_seconds() -> float | None:
    """Seconds that all processors of the machine were busy, for anybody; None where unknown."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, _, _, interrupts, soft, stolen = map(int, fields)
        ticks = user + nice + system + interrupts + soft + stolen
        return ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
