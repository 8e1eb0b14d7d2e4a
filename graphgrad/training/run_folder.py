"""A run: one training's folder with everything needed to resume, repeat and judge it.

    runs/transformer-001/
        configuration.json   the resolved configuration; its presence makes the folder a run
        environment.json     versions, processor, threads and command line
        products.json        by which rates products are computed: see `kept_rates.py`
        metrics.jsonl        one JSON object a line, appended: see `metrics_file.py`
        log.txt              dated lines, appended
        history.bin          figures of nodes, if they are recorded: see `history_file.py`
        vocabulary*.json     texts that the model keeps
        checkpoints/         see `checkpoint.py`
        .lock                held by the process that writes

The design decision: a run is plain files that any tool can read, and this class holds nothing but
the path. Writing is done inside `with run.lock():`; reading needs no lock.

Laws:

- A folder that is not empty is never made into a new run.
- A process removes only files that it made itself, and only while it holds the lock.
- A crash can truncate only the last line of a file. Readers skip a truncated line and the next
  writer removes it; any other unreadable line is an error that names file and line.
- The lock belongs to the process, not to the file: the system releases it when the process ends,
  so a lock file that was left behind blocks nobody.
"""

import errno
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from graphgrad.errors import (
    ConfigurationError,
    DataError,
    EnvironmentLimitError,
    GraphgradError,
    UnknownNameError,
)
from graphgrad.files import (
    TEMPORARY_PREFIX,
    append_line,
    disk_errors,
    explain_os_error,
    make_folder,
    open_own,
    read_file,
    sync_folder,
    write_atomically,
)
from graphgrad.strict_json import format_json, parse_json
from graphgrad.text import nearest, show_controls
from graphgrad.training.history_file import HISTORY, drop_after
from graphgrad.training.metrics_file import (
    METRICS,
    append_record,
    drop_records,
    gap_before,
    mend,
    read_lines,
)

if sys.platform != "win32":
    import fcntl

CONFIGURATION, ENVIRONMENT = "configuration.json", "environment.json"
LOG, CHECKPOINTS = "log.txt", "checkpoints"

_LOCK = ".lock"
_LIMIT = 1 << 28  # bytes of a file of JSON or text: a larger one is damage
_TRIES, _PATIENCE = 10, 0.5  # seconds
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. Made by `create` (a new run) or `open` (an existing one)."""

    path: Path

    @classmethod
    def create(
        cls, path: Path | str | None = None, root: Path | str = "runs", name: str = "transformer"
    ) -> "RunFolder":
        """A new run in `path`, or in the next free `root/name-001` when `path` is None.

        Two processes that create at the same time get different numbers.

        Raises `ConfigurationError` when `path` exists and is not an empty folder, and
        `EnvironmentLimitError` when the disk refuses.
        """
        if path is None:
            return cls(_make_numbered(Path(root), name))
        folder = Path(path)
        made = cls(folder)
        made.require_empty()
        make_folder(folder)
        return made

    def require_empty(self) -> None:
        """Raises `ConfigurationError` if the folder is not empty.

        Call it again once the lock is held: another process may have been quicker.
        """
        if os.path.lexists(self.path):
            _require_empty(self.path)

    @classmethod
    def open(cls, path: Path | str) -> "RunFolder":
        """The existing run in `path`.

        Raises `UnknownNameError` when it is missing or not a run; the fix names the nearest runs.
        """
        folder = Path(path)
        if _is_run(folder):
            return cls(folder)
        if not os.path.lexists(folder):
            problem = f"there is no run {folder.name or folder}"
        elif not folder.is_dir():
            problem = f"{folder.name or folder} is a file, not the folder of a run"
        else:
            problem = (
                f"{folder.name or folder} is not the folder of a run: it has no {CONFIGURATION}"
            )
        raise UnknownNameError(problem, folder, _suggest_runs(folder))

    @property
    def checkpoints(self) -> Path:
        """The folder for `save_checkpoint` and `load_checkpoint`."""
        return self.path / CHECKPOINTS

    @property
    def history(self) -> Path:
        """The file for `HistoryWriter` and `read_records`; absent if nothing was recorded."""
        return self.path / HISTORY

    @cached_property
    def identity(self) -> str:
        """A random text that identifies the run; empty in runs of older versions."""
        with suppress(GraphgradError):
            if isinstance(read := self.read_json(CONFIGURATION), dict):
                return str(read.get("run", ""))
        return ""

    def discard(self, names: Iterable[str]) -> None:
        """Removes a run that could not be completed; the caller holds the lock.

        Removes the files of these names, the checkpoints, and the folder if it is then empty.
        """
        with suppress(OSError):
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            for name in names:
                self._file(name).unlink(missing_ok=True)
            if set(os.listdir(self.path)) <= {_LOCK}:
                (self.path / _LOCK).unlink(missing_ok=True)
                self.path.rmdir()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Excludes a second writer while the block runs, and removes what a crash left behind.

        On a disk or a system without file locks the block runs without one; the log notes it.

        Raises `EnvironmentLimitError` when another process, or this one, already writes.
        """
        path = self.path / _LOCK
        with disk_errors(path, "lock"):
            descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            held = self._claim(descriptor)
            self._mend()
            if not held:
                self.log("note: no file locks here; a second writer is not excluded")
            yield
        finally:
            os.close(descriptor)  # this drops the lock; the file stays, which is harmless

    def write_json(self, name: str, value: object) -> None:
        """Replaces the file `name` by strict JSON of `value`, atomically.

        Raises `DataError` naming the part that JSON cannot hold, `EnvironmentLimitError`.
        """
        write_atomically(self._file(name), format_json(value, name) + "\n", follow=False)

    def read_json(self, name: str) -> Any:
        """The value in the file `name`. Raises `DataError` naming the file and line."""
        path = self._file(name)
        try:
            return parse_json(_read(path))
        except ValueError as error:
            raise DataError(f"{name} is not valid JSON: {error}", path, _mending()) from error

    def write_text(self, name: str, text: str) -> None:
        """Replaces the file `name` (a vocabulary) by `text` as UTF-8, atomically."""
        write_atomically(self._file(name), text, follow=False)

    def read_text(self, name: str) -> str:
        """The text of the file `name`. Raises `DataError` when missing or not UTF-8."""
        path = self._file(name)
        try:
            return _read(path).decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{name} is not UTF-8 text: {error}", path, _mending()) from error

    def append_metrics(self, record: Mapping[str, Any], durable: bool = False) -> None:
        """Appends `record`, which has a whole number `step`, as one line of metrics.

        NumPy numbers are written as numbers. With `durable` the line is flushed to the disk:
        before a checkpoint this is needed, so that a resumed run never lacks lines.

        Raises `DataError` for a record that JSON cannot hold, `EnvironmentLimitError`.
        """
        append_record(self.path / METRICS, self.identity, record, durable)

    def metrics(self) -> list[dict[str, Any]]:
        """All records in the order of writing; a truncated last line is skipped.

        Raises `DataError` with file and line of any other unreadable line.
        """
        return [record for _, record in read_lines(self.path / METRICS, self.identity)]

    def metrics_missing(self, step: int) -> str:
        """Which of the steps up to `step` have no record, as text; empty if none is missing."""
        return gap_before(read_lines(self.path / METRICS, self.identity), step)

    def truncate(self, after_step: int) -> None:
        """Removes metrics and history of the steps after `after_step`, which will be repeated."""
        self.truncate_metrics(after_step)
        drop_after(self.history, after_step, self.identity)

    def truncate_metrics(self, after_step: int) -> int:
        """Removes the records of steps after `after_step`, atomically; returns their number.

        The other lines keep every byte.
        """
        return drop_records(self.path / METRICS, self.identity, after_step)

    def log(self, text: str) -> None:
        """Appends `text` to the log, each line dated; control characters are escaped."""
        date = time.strftime("%Y-%m-%d %H:%M:%S")
        for line in show_controls(text).split("\n"):
            append_line(self.path / LOG, f"{date}  {line}")

    def _file(self, name: str) -> Path:
        if not _is_name(name) or name in (METRICS, LOG, HISTORY, CHECKPOINTS):
            raise ConfigurationError(f"{name!r} is not a name for a file of a run", self.path)
        return self.path / name

    def _claim(self, descriptor: int) -> bool:
        """Takes the lock; False on a system without locks.

        Raises when another process has it, or when its last holder removed the folder.
        """
        if sys.platform == "win32":
            return False
        try:
            _locked(descriptor)
        except BlockingIOError as error:
            owner = os.read(descriptor, 100).decode("ascii", "replace").strip()
            problem = f"{self.path.name} is being written by {owner or 'another process'}"
            fix = "wait for it, stop it, or choose another --run"
            raise EnvironmentLimitError(problem, self.path, fix) from error
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            raise explain_os_error(error, self.path, "lock") from error
        with disk_errors(self.path / _LOCK, "lock"):
            if not os.path.samestat(os.stat(self.path / _LOCK), os.fstat(descriptor)):
                raise FileNotFoundError(errno.ENOENT, "it was replaced")
        with suppress(OSError):  # used only in the message above: a full disk may refuse it
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
        return True

    def _mend(self) -> None:
        """Removes a crashed writer's temporary files and its truncated last line of metrics."""
        for leftover in self.path.glob(f"{TEMPORARY_PREFIX}*"):
            with suppress(OSError):
                leftover.unlink()
        mend(self.path / METRICS, self.identity)


def _locked(descriptor: int) -> None:
    """Takes the lock; waits a moment for a process that only checks whether the folder is free.

    Raises `BlockingIOError` where another process writes.
    """
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_PATIENCE / _TRIES)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_run(folder: Path) -> bool:
    with disk_errors(folder, "look into"):
        return (folder / CONFIGURATION).is_file()


def _is_name(name: str) -> bool:
    """Whether `name` is the name of one visible file or folder, without a path."""
    return bool(name) and not name.startswith(".") and Path(name).name == name and "\0" not in name


def _make_numbered(root: Path, name: str) -> Path:
    if not _is_name(name):
        raise ConfigurationError(
            f"{name!r} is not a name for a run", fix="name its folder with --run DIR"
        )
    make_folder(root)
    pattern = re.compile(re.escape(name) + r"-(\d{3,9})")
    with disk_errors(root, "list"):
        matches = [pattern.fullmatch(entry) for entry in os.listdir(root)]
    number = max((int(match[1]) for match in matches if match), default=0) + 1
    while True:
        folder = root / f"{name}-{number:03d}"
        with disk_errors(folder, "create"), suppress(FileExistsError):
            folder.mkdir()
            try:
                sync_folder(root)
            except OSError:
                folder.rmdir()
                raise
            return folder
        number += 1


def _require_empty(folder: Path) -> None:
    name = folder.name or folder  # the name of `.` is empty
    if not folder.is_dir():
        problem = f"{name} is a file, so no run can be kept there"
        raise ConfigurationError(problem, folder, "choose another --run")
    with disk_errors(folder, "list"):
        entries = sorted(set(os.listdir(folder)) - {_LOCK})
    if _is_run(folder):
        fix = f"--resume {folder} to continue it, or choose another --run"
        raise ConfigurationError(f"{name} already holds a run", folder, fix)
    if entries:
        problem = f"{name} is not empty: it holds {', '.join(entries[:3])}"
        fix = "choose another --run (--resume continues a run, but this folder holds none)"
        raise ConfigurationError(problem, folder, fix)


def _suggest_runs(folder: Path) -> str:
    """The fix for a run that does not exist: the runs of nearest name, else the last five."""
    known: dict[str, Path] = {}
    for parent in (Path("runs"), folder.parent):
        with suppress(OSError, EnvironmentLimitError):
            known |= {entry.name: entry for entry in parent.iterdir() if _is_run(entry)}
    near = nearest(folder.name, known, 3)
    if near:
        return f"did you mean {' or '.join(str(known[name]) for name in near)}?"
    if known:
        return f"the runs there are: {', '.join(str(known[name]) for name in sorted(known)[-5:])}"
    return "none exists yet; `graphgrad train transformer`, say, makes one"


def _read(path: Path) -> bytes:
    if not os.path.lexists(path):
        raise DataError(f"{path.name} is missing", path, _mending())
    with disk_errors(path, "read"):
        return read_file(path, _LIMIT)


def _mending() -> str:
    return "restore it from a copy, or start a new run"
