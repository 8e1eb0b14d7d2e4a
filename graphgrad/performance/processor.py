"""The processor and the memory that a process may use, as Linux and its control groups say.

Nothing raises: what cannot be found is empty or 0.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Container
from pathlib import Path

import numpy as np

# The names in /proc/cpuinfo that say how wide and on what types the processor computes.
VECTOR_EXTENSIONS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "sve2",
    "bf16",
    "i8mm",
)


def read_processor(
    root: Path = Path("/"), allowed: Container[int] = ()
) -> tuple[str, tuple[str, ...], int]:
    """Name, vector extensions and number of physical cores among the ``allowed`` processors.

    From ``proc/cpuinfo`` under ``root``; where there is none, what Python and NumPy know, and 0.
    """
    name = platform.processor() or platform.machine()
    paragraphs = _read(root / "proc/cpuinfo").split("\n\n")
    blocks = [dict(re.findall(r"(?m)^(.+?)[ \t]*:[ \t]*(.*)$", each)) for each in paragraphs]
    blocks = [block for block in blocks if "processor" in block]
    if not blocks:
        features = np.show_config(mode="dicts").get("SIMD Extensions", {})
        return name, tuple(features.get("found", ())), 0
    flags = set((blocks[0].get("flags") or blocks[0].get("Features") or "").split())
    cores = {
        block["processor"]  # without hardware threads some virtual machines number every core 0
        if block.get("siblings") == block.get("cpu cores")
        else (block.get("physical id"), block.get("core id"))
        for block in blocks
        if int(block["processor"]) in allowed
    }
    extensions = tuple(each for each in VECTOR_EXTENSIONS if each in flags)
    return blocks[0].get("model name") or name, extensions, len(cores)


def usable_processors() -> tuple[int, int]:
    """Hardware threads and physical cores that this process may keep busy."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        allowed = set(range(os.cpu_count() or 1))
    cores = read_processor(allowed=allowed)[2] or len(allowed)
    quota, _ = read_container_limits()
    return min(len(allowed), quota), min(cores, quota)


def read_container_limits(root: Path = Path("/")) -> tuple[int, int]:
    """Processors (rounded up) and bytes that the control groups, version 1 or 2, allow.

    From ``proc`` and ``sys`` under ``root``; `sys.maxsize` where there is no limit.
    """
    processors, sizes = [sys.maxsize], [sys.maxsize]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup" / controllers  # version 2 names no controllers
        for group in (Path(path), *Path(path).parents):
            folder = base.joinpath(*group.parts[1:])
            quota, period = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
            numbers = _numbers(folder / "cpu.max") or _numbers(quota) + _numbers(period)
            if len(numbers) == 2 and min(numbers) > 0:  # microseconds of work in each period
                processors.append(-(-numbers[0] // numbers[1]))
            sizes += _numbers(folder / "memory.max") + _numbers(folder / "memory.limit_in_bytes")
    return min(processors), min(sizes)


def usable_memory() -> int:
    """Bytes that this process may use, 0 where unknown."""
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return 0
    return min(installed, read_container_limits()[1])


def _numbers(path: Path) -> list[int]:
    """The integers in a file; a word such as ``max`` is left out."""
    return [int(number) for number in re.findall(r"-?\d+", _read(path))]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
