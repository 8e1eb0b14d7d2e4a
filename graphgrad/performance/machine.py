"""The machine a program runs on: the facts of the doctor.

Nothing is changed, and nothing raises: a fact that cannot be found is empty or 0.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass

import numpy as np

from graphgrad.performance.blas import (
    KERNEL_VARIABLES,
    OTHER_VARIABLES,
    THREAD_VARIABLES,
    BlasReport,
    examine_blas,
)
from graphgrad.performance.command import run_command
from graphgrad.performance.processor import read_processor, usable_memory


@dataclass(frozen=True)
class Package:
    """An optional package: its version, or the ``failure`` of its import, or neither (absent)."""

    version: str = ""
    failure: str = ""


@dataclass(frozen=True)
class MachineReport:
    """What was found; ``memory`` in bytes, ``dot`` Graphviz's version, ``environment`` as set."""

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
    gpus: tuple[str, ...]


def examine_machine(measure: bool = True) -> MachineReport:
    """Find all facts, in two seconds or so; ``measure=False`` times no matrix product."""
    variables = (*KERNEL_VARIABLES.values(), *THREAD_VARIABLES.values(), OTHER_VARIABLES)
    names = sorted({name for group in variables for name in group})
    processor, extensions, _ = read_processor()
    graphviz = re.search(r"version (\S+)", _answer("dot", "-V"))
    gpus = _answer("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
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
        dot=graphviz[1] if graphviz else "",
        gpus=tuple(gpus.splitlines()),
    )


def _package(name: str) -> Package:
    """Imported in a fresh process, where a broken package does no harm."""
    if importlib.util.find_spec(name) is None:
        return Package()
    script = "import importlib, sys; print(importlib.import_module(sys.argv[1]).__version__)"
    done = run_command([sys.executable, "-P", "-c", script, name])
    if done and done.returncode == 0:
        return Package(done.stdout.strip())
    lines = done.stderr.strip().splitlines() if done else []
    return Package(failure=lines[-1] if lines else "its import does not end well")


def _answer(name: str, *arguments: str) -> str:
    """What a program prints; nothing where there is no such program or where it fails."""
    program = shutil.which(name)
    done = run_command([program, *arguments]) if program else None
    return done.stdout + done.stderr if done and done.returncode == 0 else ""
