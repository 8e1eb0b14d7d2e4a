"""Examines the machine that a program runs on: the facts of `graphgrad doctor`.

Nothing is changed and nothing raises: a fact that cannot be found is empty or 0.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.backends.cupy.attention_trial import kept_problem, kind_of
from graphgrad.backends.cupy.libraries import places_of
from graphgrad.backends.numpy import Rates, rates_here
from graphgrad.performance.blas import (
    KERNEL_VARIABLES,
    OTHER_VARIABLES,
    THREAD_VARIABLES,
    BlasReport,
    examine_blas,
)
from graphgrad.performance.command import run_command
from graphgrad.performance.drawing_program import DrawingProgram, find_dot, find_port
from graphgrad.performance.processor import read_processor, usable_memory


@dataclass(frozen=True)
class Package:
    """An optional package: its version, or the `failure` of its import, or neither (absent)."""

    version: str = ""
    failure: str = ""


@dataclass(frozen=True)
class MachineReport:
    """The facts about a machine.

    `memory` is in bytes; `dot` and `graphviz_pure` are the versions of the programs that draw
    pictures; `environment` holds the variables that concern the BLAS, as they are set.
    """

    processor: str
    vector_extensions: tuple[str, ...]
    memory: int
    system: str
    python: str
    numpy: str
    blas: BlasReport
    environment: tuple[tuple[str, str], ...]
    llvmlite: Package
    cupy: Package
    dot: str
    graphviz_pure: str
    gpus: tuple[str, ...]
    cuda: tuple[tuple[str, str], ...] = ()
    """NVIDIA's libraries: the name of each, and where it is or its version; "" if absent."""
    driver_cuda: str = ""
    """The newest version of CUDA that the driver runs, such as "13.0"; "" if there is none."""
    failed_kernels: tuple[tuple[str, str], ...] = ()
    """The GPUs on which the kernels of attention on tensor cores failed a trial, and how."""
    products: Rates | None = None
    """GFLOP/s of each class of products: by our own kernels, and by the BLAS."""


def examine_machine(measure: bool = True) -> MachineReport:
    """Finds all facts, in about two seconds; `measure=False` times no matrix product."""
    variables = (*KERNEL_VARIABLES.values(), *THREAD_VARIABLES.values(), OTHER_VARIABLES)
    names = sorted({name for group in variables for name in group})
    processor, extensions, _ = read_processor()
    gpus = _output(
        shutil.which("nvidia-smi"),
        "--query-gpu=name,memory.total,compute_cap",
        "--format=csv,noheader",
    )
    driver = cuda_version_of(_output(shutil.which("nvidia-smi")))
    return MachineReport(
        processor,
        extensions,
        usable_memory(),
        platform.platform(),
        platform.python_version(),
        numpy=np.__version__,
        blas=examine_blas(measure),
        environment=tuple((name, os.environ[name]) for name in names if name in os.environ),
        llvmlite=_package("llvmlite"),
        cupy=_package("cupy"),
        dot=_version(find_dot()),
        graphviz_pure=_version(find_port()),
        gpus=tuple(gpus.splitlines()),
        cuda=tuple(_cuda_libraries()),
        driver_cuda=driver,
        failed_kernels=tuple(failed_kernels(gpus.splitlines(), driver)),
        products=rates_here(measure),
    )


def failed_kernels(gpus: Sequence[str], driver: str) -> Iterator[tuple[str, str]]:
    """The GPUs, as nvidia-smi lists them, for which a trial of kernels was kept that failed."""
    for name, *_, capability in (gpu.split(", ") for gpu in gpus if gpu.count(", ") >= 2):
        problem = kept_problem(kind_of(name, capability.replace(".", ""), driver))
        if problem:
            yield name, problem


def cuda_version_of(listing: str) -> str:
    """The version of CUDA in what nvidia-smi prints; "" if it has none."""
    found = re.search(r"CUDA Version:\s*(\d+\.\d+)", listing)
    return found[1] if found else ""


def _cuda_libraries() -> Iterator[tuple[str, str]]:
    for name, library in (("NVRTC", "nvrtc"), ("cuBLAS", "cublas"), ("cublasLt", "cublasLt")):
        yield name, next(places_of(library), "")


def _package(name: str) -> Package:
    """Imports the package in a fresh process, where a broken package does no harm."""
    if importlib.util.find_spec(name) is None:
        return Package()
    script = "import importlib, sys; print(importlib.import_module(sys.argv[1]).__version__)"
    done = run_command([sys.executable, "-P", "-c", script, name])
    if done and done.returncode == 0:
        return Package(done.stdout.strip())
    lines = done.stderr.strip().splitlines() if done else []
    return Package(failure=lines[-1] if lines else "its import ends without a message")


def _version(program: DrawingProgram | None) -> str:
    """The version that a drawing program reports; empty if it is absent or fails."""
    found = re.search(r"version (\S+)", _output(program.path if program else None, "-V"))
    return found[1] if found else ""


def _output(program: str | None, *arguments: str) -> str:
    """The output of a program; empty if it is absent or fails."""
    done = run_command([program, *arguments]) if program else None
    return done.stdout + done.stderr if done and done.returncode == 0 else ""
