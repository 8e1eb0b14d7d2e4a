"""Lends arenas to programs: as many as run at the same time, shared by all that take turns.

The programs of one compiled graph, one for each set of sizes, run at the same time only in
different threads; so they share an arena, of the size that the largest of them needs. The functions
of a program hold addresses in the arena that they are bound to, and are stored with it: when an
arena is replaced by a larger one, they are dropped and bound anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np

from graphgrad.memory import OutOfMemoryError, need_memory, size_text
from graphgrad.plan.arena import ALIGNMENT

Run = Callable[..., tuple[np.ndarray, ...]]
SMALLER = "train or evaluate with a smaller batch, shorter inputs or a smaller model"


class Workspace:
    """An arena, and for each program that ran in it the function that is bound to it."""

    def __init__(self, size: int) -> None:
        need_memory(size, "the arena of this program", SMALLER)
        try:
            raw = np.empty(size + ALIGNMENT, np.uint8)
        except (MemoryError, ValueError, OverflowError):  # more than the system can allocate
            raise OutOfMemoryError(
                f"the arena of this program needs {size_text(size)} of memory, more than there is",
                fix=SMALLER,
            ) from None
        start = -raw.ctypes.data % ALIGNMENT
        self.arena = raw[start : start + size]
        self.runs: WeakKeyDictionary[object, Run] = WeakKeyDictionary()


class Workspaces:
    """Lends workspaces; a borrowed one has a single user until it is given back."""

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
        del workspace  # frees its memory before the larger one is allocated
        return Workspace(size)

    def give_back(self, workspace: Workspace) -> None:
        """Returns a borrowed workspace."""
        self._idle.append(workspace)

    @property
    def bytes(self) -> int:
        """The bytes of the arenas that are not borrowed."""
        with self._lock:
            return sum(idle.arena.size for idle in self._idle)
