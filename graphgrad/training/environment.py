"""Describes the environment of a run: the machine, its software and its threads.

A result may depend on these beside the configuration. The description contains neither the user's
name nor variables that do not affect the computation, so a run folder can be passed on unchanged.
"""

import os
import platform
import re
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

_PACKAGES = ("graphgrad", "numpy", "llvmlite", "safetensors", "networkx", "babel", "rich")
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_NUM_THREADS",
)


def describe_environment() -> dict[str, Any]:
    """The content of `environment.json`.

    Python, platform, processor, BLAS, package versions (null when not installed), processors and
    thread variables, and the command line.
    """
    build: Any = np.show_config(mode="dicts")
    blas = build.get("Build Dependencies", {}).get("blas", {})
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": processor_name(),
        "processors": os.cpu_count(),
        "usable_processors": len(os.sched_getaffinity(0)) if sys.platform == "linux" else None,
        "threads": {name: os.environ.get(name) for name in _THREAD_VARIABLES},
        "blas": {key: str(blas[key]) for key in ("name", "version") if key in blas},
        "packages": {name: _version(name) for name in _PACKAGES},
        "command": list(sys.orig_argv),
    }


def processor_name() -> str:
    """The processor, as its maker calls it."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
