"""Keeps the page of runs up to date while they train, at little cost for the training.

Laws:

- A page is built only if a file of the runs has changed and somebody looks at it, by one thread at
  the lowest priority, which computes with one thread of the BLAS.
- Building takes at most a tenth of one processor: after it, nine times its processor time is
  waited. What is computed from the state and what is read from the metrics have a tenth each.
- Checkpoints are complete or absent, and a torn last line of metrics is skipped
  (`run_folder.py`): a page shows nothing half-written. A file that vanishes while it is read is an
  error of that build.
- After an error the last good page stays, and the error is given beside it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from graphgrad.errors import GraphgradError
from graphgrad.page.run_page import run_page
from graphgrad.page.run_sections import BATCH, Shown, state_sections
from graphgrad.tools.opening import folder_of, run_of
from graphgrad.training.metrics_file import METRICS
from graphgrad.training.run_folder import CONFIGURATION, RunFolder
from graphgrad.training.runs import OpenRun

SHARE = 9
"""How many times the processor time of a build is waited before it is built again."""
LOOK, LOOKED = 0.5, 15.0
"""Seconds between two looks at the folder, and for how long after a question pages are built."""
_LOWEST = 19


@dataclass(frozen=True)
class Page:
    """A page as it is served: its bytes, the step of its state, and when it was built."""

    content: bytes = b""
    version: int = 0
    step: int = 0
    built: float = 0.0


@dataclass
class _Part:
    """What is built again when its files change: their stamp, and when it may be built next."""

    stamp: object = None
    earliest: float = 0.0
    problem: str = ""

    def is_due(self, stamp: object) -> bool:
        return stamp != self.stamp and time.monotonic() >= self.earliest

    @contextmanager
    def built(self, stamp: object) -> Iterator[None]:
        """Around the building: notes the error of a user's files, and when the next may begin."""
        begun, self.stamp, self.problem = time.thread_time(), stamp, ""
        try:
            yield
        except GraphgradError as error:
            self.problem = str(error).replace("\n", " · ")
        except (OSError, MemoryError) as error:
            self.problem = f"the page cannot be computed: {error or type(error).__name__}"
        finally:
            taken = time.thread_time() - begun
            self.earliest = time.monotonic() + SHARE * taken


@dataclass
class Pages:
    """The newest page of some runs; `refresh` builds it again if that is due."""

    paths: Sequence[str]
    model_file: str | None = None
    shown: Shown = BATCH
    """What the page shows of the state: the sentences that a user has typed."""
    pace: float = 1.0
    """Seconds between two questions of a browser."""
    page: Page = field(default_factory=Page)
    building: bool = False
    failure: BaseException | None = None
    """What ended the thread of `follow`: an error of graphgrad itself."""
    asked: float = -LOOKED
    closed: threading.Event = field(default_factory=threading.Event)
    _state: _Part = field(default_factory=_Part)
    _recorded: _Part = field(default_factory=_Part)
    _run: OpenRun | None = None
    _sections: Mapping[str, Any] = field(default_factory=dict)

    def status(self) -> dict[str, Any]:
        """What the page around the page is told (`assets/watch/watch.js`)."""
        self.asked = time.monotonic()
        page = self.page
        return {
            "version": page.version,
            "step": page.step,
            "built": round(page.built, 1),
            "now": round(time.time(), 1),
            "pace": self.pace,
            "building": self.building,
            "problem": self.problem,
        }

    @property
    def problem(self) -> str:
        """What is wrong with the files of the runs, since they changed last; empty if nothing."""
        return self._state.problem or self._recorded.problem

    def follow(self) -> None:
        """Refreshes the page until it is closed; for a thread of its own."""
        try:
            with _lowest_priority():
                while not self.closed.is_set():
                    if time.monotonic() - self.asked < LOOKED or not self.page.version:
                        self.refresh()
                    self.closed.wait(LOOK)
        except BaseException as error:
            self.failure = error

    def refresh(self) -> bool:
        """Builds the page if files have changed and a build is due; whether there is a new one."""
        before = self.page.version
        state, recorded = _state_stamp(self.paths[0]), _recorded_stamp(self.paths)
        try:
            if self._state.is_due(state):
                self.building = True
                self._open(state)
            if self._run and (self._state.stamp is state or self._recorded.is_due(recorded)):
                self.building = True
                self._build(self._run, recorded)
        finally:
            self.building = False
        return self.page.version > before

    def _open(self, stamp: object) -> None:
        """Opens the newest state and computes its sections."""
        with self._state.built(stamp):
            run = run_of(self.paths[0], told=False, model_file=self.model_file)
            self._run, self._sections = run, state_sections(run, self.shown)

    def _build(self, run: OpenRun, stamp: object) -> None:
        """Reads what the runs have recorded, and builds the page."""
        with self._recorded.built(stamp):
            _, *others = [folder_of(path) for path in self.paths]
            content = run_page(run, others=others, known=self._sections)
            if content != self.page.content:
                version = self.page.version + 1
                self.page = Page(content, version, run.step, time.time())


def _state_stamp(path: str) -> object:
    """What changes when a run has another configuration or checkpoint."""
    folder = RunFolder(Path(path))
    found = [_file_stamp(folder.path / CONFIGURATION)]
    with suppress(OSError):
        names = [name for name in os.listdir(folder.checkpoints) if not name.startswith(".")]
        found += [(name, _file_stamp(folder.checkpoints / name)) for name in sorted(names)]
    return found


def _recorded_stamp(paths: Sequence[str]) -> object:
    """What changes when one of the runs has more metrics or recorded figures."""
    folders = [RunFolder(Path(path)) for path in paths]
    files = [
        (folder.path / CONFIGURATION, folder.path / METRICS, folder.history) for folder in folders
    ]
    return [_file_stamp(file) for each in files for file in each]


def _file_stamp(file: Path) -> object:
    """Size, time and number of a file; None if there is none."""
    with suppress(OSError):
        found = file.stat()
        return found.st_size, found.st_mtime_ns, found.st_ino
    return None


@contextmanager
def _lowest_priority() -> Iterator[None]:
    """Gives this thread the lowest priority, where a thread has one of its own; one BLAS thread."""
    with suppress(OSError):
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
    with threadpool_limits(limits=1):
        yield
