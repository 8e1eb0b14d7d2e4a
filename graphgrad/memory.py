"""How much memory this process may still take, asked before it is taken.

Memory that is not there shows late: an array can be had, and the process is killed where it writes
to it. What a program needs is known beforehand, so it is compared with what there is.
"""

from __future__ import annotations

import re
from pathlib import Path

from graphgrad.errors import EnvironmentLimitError

UNASKED = 1 << 26
"""Bytes that are taken without a look at what there is."""


def need_memory(size: int, what: str, fix: str, root: Path = Path("/")) -> None:
    """EnvironmentLimitError unless `size` bytes can be had; `what` takes them."""
    if size <= UNASKED:
        return
    available = available_memory(root)
    if available is not None and size > available:
        raise EnvironmentLimitError(
            f"{what} needs {size_text(size)} of memory, and {size_text(available)} are available",
            fix=fix,
        )


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can be taken before something has to give; None where the system does not say.

    What the kernel of Linux estimates, swap included, and less where a control group (version 1 or
    2) allows less. Read from `proc` and `sys` under `root`.
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
    """Bytes below the limit of a control group; files that are only cached count as free."""
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
    """Bytes as a person reads them: 74.5 GiB."""
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
