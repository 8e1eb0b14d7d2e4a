"""Where programs run: arenas, as many as runs ever overlapped, shared by all that run by turns.

The programs of one compiled graph, one for each set of sizes, never run in each other's middle but
in different threads; so they share an arena, which is as large as the largest of them needs. A
program's functions hold addresses in the arena that they were bound to. They are kept with it:
where an arena is replaced by a larger one, they go too, and are bound anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np

from graphgrad.errors import EnvironmentLimitError
from graphgrad.memory import need_memory, size_text
from graphgrad.plan.arena import ALIGNMENT

Run = Callable[..., tuple[np.ndarray, ...]]
SMALLER = "train or evaluate with a smaller batch, shorter inputs or a smaller model"


class Workspace:
    """One arena, and for each program that ran in it its functions over it."""

    def __init__(self, size: int) -> None:
        need_memory(size, "the arena of this program", SMALLER)
        try:
            raw = np.empty(size + ALIGNMENT, np.uint8)
        except (MemoryError, ValueError, OverflowError):  # more than the system can promise
            raise EnvironmentLimitError(
                f"the arena of this program needs {size_text(size)} of memory, more than there is",
                fix=SMALLER,
            ) from None
        start = -raw.ctypes.data % ALIGNMENT
        self.arena = raw[start : start + size]
        self.runs: WeakKeyDictionary[object, Run] = WeakKeyDictionary()


class Workspaces:
    """Lends arenas; a lent one is nobody else's until it is given back."""

    def __init__(self) -> None:
        self._idle: list[Workspace] = []
        self._lock = threading.Lock()

    def borrow(self, size: int) -> Workspace:
        """A workspace whose arena has at least `size` bytes."""
        with self._lock:
            if not self._idle:
                workspace = None
            elif self._idle[-1].arena.size >= size:
                return self._idle.pop()
            else:
                self._idle.sort(key=lambda idle: idle.arena.size)
                workspace = self._idle.pop()
        if workspace is not None and workspace.arena.size >= size:
            return workspace
        del workspace  # its memory is free before the larger one is taken
        return Workspace(size)

    def give_back(self, workspace: Workspace) -> None:
        """Ends a loan."""
        self._idle.append(workspace)

    @property
    def bytes(self) -> int:
        """The size of the arenas that nobody has borrowed."""
        with self._lock:
            return sum(idle.arena.size for idle in self._idle)
