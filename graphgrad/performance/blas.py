"""NumPy's BLAS, examined by measuring: its kernel, its threads, and what holds it back.

An environment variable may force slow kernels or one thread on it. A forced kernel costs half the
speed on one processor and nothing on the next, so every claim is a measurement: the same matrix
product, timed here and in a fresh process without the variable.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace

from graphgrad.performance import blas_trial
from graphgrad.performance.blas_trial import Trial, loaded_blas, run_trial
from graphgrad.performance.command import run_command
from graphgrad.performance.processor import usable_processors

# For each BLAS, the variables that force its kernel and those that set its number of threads.
KERNEL_VARIABLES = {
    "openblas": ("OPENBLAS_CORETYPE",),
    "mkl": ("MKL_DEBUG_CPU_TYPE", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"),
    "blis": ("BLIS_ARCH_TYPE",),
}
THREAD_VARIABLES = {
    "openblas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "mkl": ("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "blis": ("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
}
# Reported where set, never judged: threadpoolctl cannot ask what they led to.
OTHER_VARIABLES = ("NVPL_BLAS_DEBUG_CPU_TYPE", "VECLIB_MAXIMUM_THREADS", "NPY_DISABLE_CPU_FEATURES")


@dataclass(frozen=True)
class BlasReport:
    """NumPy's BLAS as this process runs it.

    ``name`` is openblas, mkl or blis; for any other ``kernel`` is empty and ``threads`` 0. The
    process may keep ``cores`` (physical) and ``processors`` (hardware threads) busy. The variables
    of ``kernel_forced_by`` and ``threads_limited_by`` were absent in the ``free_`` trials.
    """

    name: str
    version: str
    kernel: str
    threads: int
    cores: int
    processors: int
    kernel_forced_by: tuple[str, ...] = ()
    threads_limited_by: tuple[str, ...] = ()
    measured: Trial | None = None
    free_kernel: Trial | None = None
    free_threads: Trial | None = None


def examine_blas(measure: bool = True) -> BlasReport:
    """NumPy's BLAS; with ``measure`` its speed too, and its speed without what holds it back."""
    name, version, kernel, threads = loaded_blas()
    processors, cores = usable_processors()
    forced = tuple(v for v in KERNEL_VARIABLES.get(name, ()) if os.environ.get(v))
    settings = THREAD_VARIABLES.get(name, ()) if threads < cores else ()
    limits = tuple(v for v in settings if os.environ.get(v))
    report = BlasReport(name, version, kernel, threads, cores, processors, forced, limits)
    if not measure:
        return report
    # Two rounds, in turn, where rates are compared: others may use the machine during one of them.
    count = 2 if forced or limits else 1
    rounds = [(run_trial(), _trial_without(forced), _trial_without(limits)) for _ in range(count)]
    measured, free_kernel, free_threads = (
        max(filter(None, trials), key=lambda trial: trial.gflops, default=None)
        for trials in zip(*rounds, strict=True)
    )
    return replace(report, measured=measured, free_kernel=free_kernel, free_threads=free_threads)


def _trial_without(variables: tuple[str, ...]) -> Trial | None:
    """A trial in a fresh process whose environment lacks ``variables``; None without any."""
    environment = {name: value for name, value in os.environ.items() if name not in variables}
    # -P keeps that file's folder, whose files may be named like standard modules, off the path.
    command = [sys.executable, "-P", blas_trial.__file__]
    done = run_command(command, environment) if variables else None
    try:
        return Trial(**json.loads(done.stdout)) if done else None
    except (ValueError, TypeError):
        return None
