"""Whether other programs keep the cores busy, and what to do about it.

The threads of OpenBLAS share every matrix product and wait for each other by spinning. Where others
use the cores too, the slowest thread waits for its turn and the others wait for it, at every
product: a training step can take ten times as long. With one thread nobody waits.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from graphgrad.performance.blas import BlasReport, examine_blas

LOOKS, PAUSE = 9, 0.01
"""How often the kernel is asked, and the seconds in between: processes come and go."""


def busy_note(blas: BlasReport | None = None, root: Path = Path("/")) -> str | None:
    """One line with the remedy where more is ready to run than there are cores; else None."""
    others, cores = ready_to_run(root), os.cpu_count() or 1
    if others is None or others < cores:
        return None
    blas = blas or examine_blas(measure=False)
    if blas.threads < 2:
        return None
    return (
        f"{others} other programs or threads are ready to run on {cores} cores: the "
        f"{blas.threads} threads of {blas.name} wait for each other, and a step may take ten "
        f"times as long (remedy: export {_variable(blas)}=1)"
    )


def ready_to_run(root: Path = Path("/")) -> int | None:
    """How many threads of the machine run or wait for a core, this one not counted: the median of
    some looks. None where the system does not say."""
    seen = []
    for look in range(LOOKS):
        if look:
            time.sleep(PAUSE)
        try:
            text = (root / "proc/loadavg").read_text(encoding="ascii")
        except (OSError, ValueError):
            return None
        found = re.fullmatch(r"(?:[\d.]+ ){3}(\d+)/\d+ \d+\s*", text)
        if found is None:
            return None
        seen.append(int(found[1]))
    return max(0, sorted(seen)[LOOKS // 2] - 1)


def _variable(blas: BlasReport) -> str:
    return {"mkl": "MKL_NUM_THREADS", "openblas": "OPENBLAS_NUM_THREADS"}.get(
        blas.name, "OMP_NUM_THREADS"
    )
