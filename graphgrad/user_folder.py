"""Stores files of this user outside of any run: machine code, and the list of trained models.

Both are trusted later (machine code is executed), so the folder has rules of its own:

- It is `GRAPHGRAD_CACHE`, else `graphgrad` in `XDG_CACHE_HOME`, else in `~/.cache`. If the path is
  not absolute (the home is unknown, or the variable is relative), nothing is stored.
- A folder or file is used only if it belongs to this user, has the right type, and nobody else may
  write it. It is opened without following links or waiting for a pipe, and checked after that.
- A file is written under a random new name and then renamed, so it is complete or missing.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

LIMIT = 64 << 20
"""Bytes; no file of graphgrad in the folder is larger."""
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def user_folder(name: str) -> Path | None:
    """The folder `name` among this user's files, or None if nothing can be stored there."""
    base = _base()
    return _opened(base / name) if base is not None else None


def unavailable_reason(name: str) -> str:
    """The reason why there is no folder `name`, as text for people; empty if there is one."""
    if user_folder(name) is not None:
        return ""
    base = _base()
    if base is None:
        return "the home folder is unknown: set GRAPHGRAD_CACHE to an absolute path"
    return (
        f"{base / name} cannot be written, or is not this user's alone "
        "(it must be theirs, and writable by nobody else)"
    )


def read_own(path: Path, limit: int = LIMIT) -> bytes | None:
    """The content of a file that only this user can have written; None for any other file.

    The file is checked after it was opened, so it cannot be exchanged between check and reading.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    except OSError:
        return None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or not _own(state) or state.st_size > limit:
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def write_own(path: Path, content: bytes, new: bool = False) -> bool:
    """Stores the content in a file of mode 0600. Returns whether that was possible.

    With `new`, an existing file is kept, and the result is false.
    """
    temporary = path.with_name(f".{secrets.token_hex(16)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o600)
    except OSError:
        return False
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if new:
            os.link(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError:  # a full disk, say
        return False
    finally:
        with suppress(OSError):
            temporary.unlink()
    return True


def _base() -> Path | None:
    chosen = os.environ.get("GRAPHGRAD_CACHE")
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):  # the standard: a relative path is ignored
        home = "~/.cache"
    path = os.path.expanduser(chosen or os.path.join(home, "graphgrad"))
    return Path(path) if os.path.isabs(path) else None


@cache
def _opened(folder: Path) -> Path | None:
    """The folder, created if missing; None unless it is only this user's and can be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        state = os.lstat(folder)
    except OSError:
        return None
    private = stat.S_ISDIR(state.st_mode) and _own(state)
    return folder if private and os.access(folder, os.W_OK) else None


def _own(state: os.stat_result) -> bool:
    if sys.platform == "win32":  # without owners and modes; a profile belongs to its user
        return True
    return state.st_uid == os.geteuid() and not state.st_mode & _WRITABLE_BY_OTHERS
