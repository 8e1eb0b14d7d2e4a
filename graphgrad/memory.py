"""Checks that enough memory is available before it is allocated.

The system reports missing memory late: an allocation succeeds, and the process is killed when it
writes to the array. The memory of a program is known in advance, so it is compared with the memory
that is available.
"""

from __future__ import annotations

import re
from pathlib import Path

from graphgrad.errors import EnvironmentLimitError

UNCHECKED = 1 << 26
"""Bytes that are allocated without a check."""


class OutOfMemoryError(EnvironmentLimitError):
    """Memory is not available, or has run out."""


def need_memory(size: int, what: str, fix: str, root: Path = Path("/")) -> None:
    """Raises OutOfMemoryError if the `size` bytes that `what` needs are not available."""
    if size <= UNCHECKED:
        return
    available = available_memory(root)
    if available is not None and size > available:
        raise OutOfMemoryError(
            f"{what} needs {size_text(size)} of memory, and {size_text(available)} are available",
            fix=fix,
        )


def available_memory(root: Path = Path("/")) -> int | None:
    """The bytes that can be allocated; None if the system does not report them.

    This is the estimate of the Linux kernel, swap included, or the rest of the limit of a control
    group (version 1 or 2) if that is less. It is read from `proc` and `sys` under `root`.
    """
    meminfo = dict(re.findall(r"(?m)^(\w+):\s+(\d+) kB$", _read(root / "proc/meminfo")))
    if "MemAvailable" not in meminfo:
        return None
    found = [1024 * (int(meminfo["MemAvailable"]) + int(meminfo.get("SwapFree", 0)))]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        base = root / "sys/fs/cgroup" / controllers  # version 2 names no controllers
        for group in (Path(path), *Path(path).parents):
            left = _left_in_group(base.joinpath(*group.parts[1:]))
            if left is not None:
                found.append(left)
    return max(0, min(found))


def _left_in_group(folder: Path) -> int | None:
    """The bytes left below the limit of a control group; cached files count as free."""
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, taken = _read(folder / limit).strip(), _read(folder / used).strip()
        if most.isdecimal() and taken.isdecimal():
            reclaimable = re.search(rf"(?m)^{cached} (\d+)$", _read(folder / "memory.stat"))
            return int(most) - int(taken) + (int(reclaimable[1]) if reclaimable else 0)
    return None


def size_text(size: int) -> str:
    """A number of bytes as text for people: 74.5 GiB."""
    amount, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
