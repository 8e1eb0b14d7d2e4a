"""Code that was compiled once and is kept for later processes, for a processor or for a GPU.

Since it is run as it is, it is believed only in a folder and a file of this user's own (see
`user_folder.py`) and with a mark that is made with a secret of theirs from its name and its code:
what was damaged, put there by others or copied under another name is as good as none. The oldest
files go when there are too many. Where there is no such folder, each process compiles for itself.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from graphgrad.user_folder import read_own, user_folder, write_own

KEPT = 4096
"""Files in a folder; beyond that, the oldest go."""
_MARK = hashlib.sha256().digest_size
_KEY = "key"


@dataclass(frozen=True)
class KeptCode:
    """Pieces of code by name, in the user's folder `folder_name`."""

    folder_name: str
    suffix: str

    @property
    def folder(self) -> Path | None:
        """Where the code is kept, or None where nothing can be kept safely."""
        return user_folder(self.folder_name)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, whatever it is worth."""
        return os.path.exists(self._path(name) or "")

    def read(self, name: str) -> bytes | None:
        """The code of this name, or None where there is none to be believed."""
        path = self._path(name)
        content = read_own(path) if path is not None else None
        key = _key(path.parent) if path is not None and content else None
        if content is None or key is None:
            return None
        code = content[_MARK:]
        return code if hmac.compare_digest(_mark(key, name, code), content[:_MARK]) else None

    def write(self, name: str, code: bytes) -> None:
        """Keeps the code; a file is whole or it is not there."""
        path = self._path(name)
        key = _key(path.parent) if path is not None else None
        if path is not None and key is not None:
            _prune(path.parent)
            write_own(path, _mark(key, name, code) + code)

    def _path(self, name: str) -> Path | None:
        folder = self.folder
        return folder / f"{name}{self.suffix}" if folder else None


def _mark(key: bytes, name: str, code: bytes) -> bytes:
    return hmac.digest(key, name.encode() + b"\0" + code, "sha256")


@cache
def _key(folder: Path) -> bytes | None:
    """The user's secret, made when it is first needed; processes that start at once share it."""
    path = folder / _KEY
    for new in (True, False):  # what is there and no secret of this user is replaced at last
        for _ in range(2):
            key = read_own(path)
            if key is not None and len(key) == _MARK:
                return key
            write_own(path, secrets.token_bytes(_MARK), new)
    return None


@cache
def _prune(folder: Path) -> None:
    """Lets the oldest files go where there are too many; once a process, before its first write."""
    written = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another process may be at the same
                if entry.name != _KEY:
                    written.append((entry.stat(follow_symlinks=False).st_mtime, entry.path))
    for _, path in sorted(written)[: max(0, len(written) - KEPT)]:
        with suppress(OSError):
            os.unlink(path)
