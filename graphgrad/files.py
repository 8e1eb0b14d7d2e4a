"""Durable writing and careful reading of small files: those of a run, and what a user asks for.

The design decision: a file is either the old one or the new one, whole, whenever the process or
the machine dies. So nothing is overwritten in place; a new file is written beside its target,
flushed to the disk and renamed over it, and the folder is flushed after the rename. Only logs
grow in place, by one write a line, and a failed append is cut off again.

Laws:

- Every `OSError` of a write reaches the user as an `EnvironmentLimitError` that names the
  file, the cause and the remedy.
- What a user names to be written is written where it leads: through a link, into a device or pipe,
  never in its place; a file that was there keeps its mode. The files of a run are no links.
- What is read is a regular file of bounded size: for a pipe one would wait without end.
- A temporary name starts with `TEMPORARY_PREFIX`. What a killed process leaves behind under
  such a name is never read and may be removed by the next writer of the folder.
"""

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from graphgrad.errors import DataError, EnvironmentLimitError

TEMPORARY_PREFIX = ".saving-"

_PIECE = 1 << 24  # bytes handed to one os.write: a signal waits no longer than 16 MiB take
_NO_LINK, _NO_WAITING = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ANOTHER = "choose another place"
# errno -> (what is wrong, the likely fix); a full disk is worded by _full_disk.
_CAUSES = {
    errno.EFBIG: ("the file would be larger than this disk or user may hold", _ANOTHER),
    errno.EACCES: ("this user has no permission", f"change its permissions or {_ANOTHER}"),
    errno.EPERM: ("the system does not permit it", f"check the owner and flags or {_ANOTHER}"),
    errno.EROFS: ("the disk is mounted read-only", _ANOTHER),
    errno.ENOENT: ("a folder on the way to it does not exist", "create the folder first"),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", _ANOTHER),
    errno.EISDIR: ("a folder of that name is in the way", f"move the folder away or {_ANOTHER}"),
    errno.EEXIST: ("something of that name is in the way", f"move it away or {_ANOTHER}"),
    errno.ENAMETOOLONG: ("its name is too long", "choose a shorter one"),
    errno.EMFILE: ("this process has too many open files", "raise the limit with `ulimit -n`"),
    errno.ELOOP: ("it is a link, or one on the way leads in a circle", "put a file in its place"),
    errno.EIO: ("the disk reports an input/output error", "check the disk"),
}


def _full_disk(path: Path, needed: int) -> tuple[str, str]:
    """Problem and fix of a full disk, with the free bytes where they can be asked for."""
    free = ""
    with suppress(OSError):
        free = f" and {shutil.disk_usage(path.parent).free:,} are free"
    amount = f"{needed:,} bytes" if needed else "some space"
    return f"the disk is full: it needs {amount}{free}", f"free {amount} or {_ANOTHER}"


def explain_os_error(
    error: OSError, path: Path, action: str, needed: int = 0
) -> EnvironmentLimitError:
    """The error for the user behind `error`, met when trying to `action` (a verb) `path`.

    `needed` is the number of bytes to write and is named when the disk is full.
    """
    number = error.errno or 0
    if number in _FULL:
        problem, fix = _full_disk(path, needed)
    elif number in _CAUSES:
        problem, fix = _CAUSES[number]
    else:
        problem, fix = error.strerror or str(error), ""
    return EnvironmentLimitError(f"cannot {action} {path.name}: {problem}", path, fix)


@contextmanager
def disk_errors(path: Path, action: str, needed: int = 0) -> Iterator[None]:
    """Turns each `OSError` of the block into the error of `explain_os_error`."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path, action, needed) from error


def temporary_name() -> str:
    """A fresh name for a file or folder that is being written and does not count yet."""
    return f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"


def sync_folder(folder: Path) -> None:
    """Flushes the entries of `folder` to the disk, where the system can flush a folder."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Creates `folder` and its parents where they are missing, durably or not at all."""
    with disk_errors(folder, "create"):
        missing = [part for part in (folder, *folder.parents) if not part.is_dir()]
        if not missing:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part in missing:
                sync_folder(part.parent)
        except OSError:
            for part in missing:
                with suppress(OSError):
                    part.rmdir()
            raise


def write_new(path: Path, pieces: Iterable[bytes | memoryview]) -> tuple[int, str]:
    """Writes a file that does not exist yet, flushes it, returns its bytes and sha256 hex digest.

    Raises `OSError`; what was written until then stays, so `path` should be temporary.
    """
    size, digest = 0, hashlib.sha256()
    with open(path, "xb", buffering=0) as file:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            _write_all(file.fileno(), piece)
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while len(rest):
        written = os.write(descriptor, rest[:_PIECE])
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        rest = rest[written:]


def _utf8(text: str, path: Path) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        problem = f"text for {path.name} has half a character (a lone surrogate)"
        raise DataError(f"{problem} at position {error.start}", path) from None


def write_atomically(
    path: Path | str, data: bytes | str | Sequence[bytes | memoryview], follow: bool = True
) -> None:
    """Replaces or creates the file `path` by `data` (text as UTF-8, bytes also in pieces),
    durably and at once.

    A link is followed to what it names, and a device or a pipe is written into; without
    `follow` a file takes the place of whatever has the name.

    Raises `EnvironmentLimitError`; then the old file is untouched and nothing else is left.
    """
    target = Path(path)
    whole = _utf8(data, target) if isinstance(data, str) else data
    content = (whole,) if isinstance(whole, bytes) else whole
    with disk_errors(target, "write", sum(map(len, content))):
        mode = _mode(target) if follow else None
        if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            with open(target, "wb", buffering=0) as file:
                for piece in content:
                    _write_all(file.fileno(), piece)
        else:
            _replace(Path(os.path.realpath(target)) if follow else target, content, mode)


def _mode(path: Path) -> int | None:
    """Kind and permissions of what `path` leads to; None where nothing is there."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _replace(target: Path, content: Iterable[bytes | memoryview], mode: int | None) -> None:
    temporary = target.with_name(temporary_name())
    try:
        write_new(temporary, content)
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode) & 0o777)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(target.parent)


def open_own(path: Path, flags: int) -> int:
    """A descriptor of the regular file `path`, made if `flags` say so; no link, pipe or device.

    Raises `OSError`.
    """
    descriptor = os.open(path, flags | _NO_LINK | _NO_WAITING, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EEXIST, "it is no regular file", str(path))
    return descriptor


def read_file(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises `DataError` for anything else that has the name, and `OSError`.
    """
    descriptor = os.open(path, os.O_RDONLY | _NO_WAITING)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise DataError(f"{path.name} is no regular file", path, "put the file back")
        if state.st_size > limit:
            raise DataError(
                f"{path.name} is far too large: {state.st_size:,} bytes, where at most {limit:,} "
                "can be",
                path,
                "restore it from a copy",
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)


def append_line(path: Path | str, text: str, durable: bool = False) -> None:
    """Appends `text` and a line break to the file `path`, which is created when missing.

    The line survives the death of the process as soon as this returns; with `durable` it is
    flushed and survives the death of the machine too (a few milliseconds on a local disk). A
    line that a crash left without its line break is ended first, so lines never run together.

    Raises `EnvironmentLimitError`; then the file has its old length again.
    """
    target = Path(path)
    append_bytes(target, _utf8(text + "\n", target), durable, lines=True)


def append_bytes(path: Path, data: bytes, durable: bool = False, lines: bool = False) -> None:
    """Appends the bytes to the file, or nothing; see `append_line`, which does it with `lines`."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    with (
        disk_errors(path, "append to", len(data)),
        os.fdopen(open_own(path, flags), "a+b", buffering=0) as file,
    ):
        size = file.seek(0, os.SEEK_END)
        if lines and size:
            file.seek(size - 1)
            data = data if file.read(1) == b"\n" else b"\n" + data
        try:
            _write_all(file.fileno(), data)
            if durable:
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise
