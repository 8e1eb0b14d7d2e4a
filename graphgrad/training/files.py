"""Durable writing and strict reading of the small files that a training run consists of.

The design decision: a file is either the old one or the new one, whole, whenever the process or
the machine dies. So nothing is overwritten in place; a new file is written beside its target,
flushed to the disk and renamed over it, and the folder is flushed after the rename. Only logs
grow in place, by one write a line, and a failed append is cut off again.

Laws:

- Every ``OSError`` of a write reaches the user as an ``EnvironmentLimitError`` that names the
  file, the cause and the remedy.
- What a user names to be written is written where it leads: through a link, into a device or pipe,
  never in its place; a file that was there keeps its mode. The files of a run are no links.
- What is read is a regular file of bounded size: for a pipe one would wait without end.
- A temporary name starts with ``TEMPORARY_PREFIX``. What a killed process leaves behind under
  such a name is never read and may be removed by the next writer of the folder.
- JSON is read strictly: UTF-8, no key twice, no NaN or infinity, no number that overflows.
- Text from data reaches a terminal or a log only through ``show_controls``.
"""

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from graphgrad.errors import DataError, EnvironmentLimitError

TEMPORARY_PREFIX = ".saving-"

_PIECE = 1 << 24  # bytes handed to one os.write: a signal waits no longer than 16 MiB take
_NO_LINK, _NO_WAITING = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)
_DEPTH = 100  # nesting allowed in JSON that is written
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
# Characters that reorder or break a line without being control characters by category.
_REORDERING = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c"


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
    """The error for the user behind ``error``, met when trying to ``action`` (a verb) ``path``.

    ``needed`` is the number of bytes to write and is named when the disk is full.
    """
    number = error.errno or 0
    if number in _FULL:
        problem, fix = _full_disk(path, needed)
    elif number in _CAUSES:
        problem, fix = _CAUSES[number]
    else:
        problem, fix = error.strerror or str(error), ""
    return EnvironmentLimitError(f"cannot {action} {path.name}: {problem}", str(path), fix)


@contextmanager
def disk_errors(path: Path, action: str, needed: int = 0) -> Iterator[None]:
    """Turns each ``OSError`` of the block into the error of ``explain_os_error``."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path, action, needed) from error


def temporary_name() -> str:
    """A fresh name for a file or folder that is being written and does not count yet."""
    return f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"


def sync_folder(folder: Path) -> None:
    """Flushes the entries of ``folder`` to the disk, where the system can flush a folder."""
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
    """Creates ``folder`` and its parents where they are missing, durably or not at all."""
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

    Raises ``OSError``; what was written until then stays, so ``path`` should be temporary.
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
        raise DataError(f"{problem} at position {error.start}", str(path)) from None


def write_atomically(
    path: Path | str, data: bytes | str | Sequence[bytes | memoryview], follow: bool = True
) -> None:
    """Replaces or creates the file ``path`` by ``data`` (text as UTF-8, bytes also in pieces),
    durably and at once.

    A link is followed to what it names, and a device or a pipe is written into; without
    ``follow`` a file takes the place of whatever has the name.

    Raises ``EnvironmentLimitError``; then the old file is untouched and nothing else is left.
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
    """Kind and permissions of what ``path`` leads to; None where nothing is there."""
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
    """A descriptor of the regular file ``path``, made if ``flags`` say so; no link, pipe or device.

    Raises ``OSError``.
    """
    descriptor = os.open(path, flags | _NO_LINK | _NO_WAITING, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EEXIST, "it is no regular file", str(path))
    return descriptor


def read_file(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes.

    Raises ``DataError`` for anything else that has the name, and ``OSError``.
    """
    descriptor = os.open(path, os.O_RDONLY | _NO_WAITING)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise DataError(f"{path.name} is no regular file", str(path), "put the file back")
        if state.st_size > limit:
            raise DataError(
                f"{path.name} is far too large: {state.st_size:,} bytes, where at most {limit:,} "
                "can be",
                str(path),
                "restore it from a copy",
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)


def append_line(path: Path | str, text: str, durable: bool = False) -> None:
    """Appends ``text`` and a line break to the file ``path``, which is created when missing.

    The line survives the death of the process as soon as this returns; with ``durable`` it is
    flushed and survives the death of the machine too (a few milliseconds on a local disk). A
    line that a crash left without its line break is ended first, so lines never run together.

    Raises ``EnvironmentLimitError``; then the file has its old length again.
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


def parse_json(data: bytes) -> Any:
    """The value of the strict JSON text ``data``.

    Raises ``ValueError`` whose text begins with the line, where one can be named.
    """

    def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(_twice(text, next(key for key in keys if keys.count(key) > 1)))
        return result

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"{number} is no finite number")
        return value

    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8") from None
    try:
        return json.loads(
            text, object_pairs_hook=no_key_twice, parse_float=finite, parse_constant=finite
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _twice(text: str, key: str) -> str:
    places = re.finditer(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text)
    lines = [text.count("\n", 0, place.start()) + 1 for place in places]
    where = f"lines {', '.join(map(str, lines))}: " if lines else ""
    return f"{where}the key {key!r} stands twice in one object"


def format_json(value: object, name: str, indent: int | None = 2) -> str:
    """Strict JSON text of ``value`` that ``parse_json`` reads back as an equal value.

    ``name`` is how errors call the value. Tuples become lists. Characters beyond ASCII stay
    readable; only text with lone surrogates (a file name that is not UTF-8) is escaped.

    Raises ``DataError`` that names the part that is no JSON (``details.best is nan``).
    """
    _check_json(value, name, 0)
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, ensure_ascii=True, indent=indent, allow_nan=False)
    return text


def _check_json(value: object, name: str, depth: int) -> None:
    if depth > _DEPTH:
        raise DataError(f"{name[:80]}… is nested more than {_DEPTH} deep or holds itself")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise DataError(f"{name} has the key {key!r}: keys in JSON are text", fix="str()")
            _check_json(item, f"{name}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_json(item, f"{name}[{number}]", depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise DataError(f"{name} is {value}: JSON has no such number", fix="use null or text")
    elif value is not None and not isinstance(value, str | int):
        kind = type(value).__name__
        raise DataError(
            f"{name} is a {kind}, which JSON cannot hold", fix="use plain Python values"
        )


def show_controls(text: str) -> str:
    """``text`` with every control character written out (``\\x1b``), so a terminal shows it.

    Line breaks and tabs stay. Written out are the categories Cc (control), Cs (lone surrogate),
    Zl and Zp (line and paragraph separator) and the marks that reverse the writing direction.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    if not hidden and character not in _REORDERING:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
