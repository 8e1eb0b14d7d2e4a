"""Compiles LLVM IR to machine code in memory, and caches it on disk.

A text is compiled once on a machine: its code is kept under a hash of the text, of the processor
and of LLVM's version, and loaded from there by later processes. Since it is run as it is, it is
believed only in a folder and a file of this user's own (see `user_folder.py`) and with a mark that
is made with a secret of theirs from its name and its code: what was damaged, put there by others or
copied under another name is as good as none. The oldest go when there are too many. Where there is
no such folder, each process compiles for itself.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from graphgrad.user_folder import read_own, user_folder, write_own

KEPT = 4096
"""Files in the folder; beyond that, the oldest go."""
_MARK = 32
_KEY = "key"


class Code:
    """The compiled functions of this process, by name."""

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._lock = threading.Lock()
        self._target = llvm.Target.from_default_triple()
        self._machine = self._target.create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=_features(), opt=3, jit=True
        )
        self._empty = llvm.parse_assembly("")
        self._engine = llvm.create_mcjit_compiler(self._empty, self._machine)
        self._addresses: dict[str, int] = {}
        self._identity = (
            f"{llvmlite.__version__} {self._target.triple} {llvm.get_host_cpu_name()} {_features()}"
        )

    def name_of(self, source: str) -> str:
        """The name of the function with this source, equal on equal machines."""
        return "f" + hashlib.sha256(f"{self._identity}\n{source}".encode()).hexdigest()[:32]

    def address(self, name: str, text: Callable[[], str], symbol: str = "") -> int:
        """The address of the function of this name; `text` returns its IR if it is not cached.

        `symbol` is its name in the IR, if that is another.
        """
        with self._lock:
            if name not in self._addresses:
                content = _read(name)
                if content is None:
                    content = self._compiled(text())
                    _write(name, content)
                self._engine.add_object_file(llvm.ObjectFileRef.from_data(content))
                self._engine.finalize_object()
                self._addresses[name] = self._engine.get_function_address(symbol or name)
            return self._addresses[name]

    def missing(self, name: str) -> bool:
        """Whether the function would have to be compiled."""
        return name not in self._addresses and not os.path.exists(_path(name) or "")

    def optimised(self, text: str) -> llvm.ModuleRef:
        """The IR after LLVM's optimisations for this processor."""
        head = (
            f'target triple = "{self._target.triple}"\n'
            f'target datalayout = "{self._machine.target_data}"\n'
        )
        module = llvm.parse_assembly(head + text)
        module.verify()
        builder = llvm.create_pass_builder(
            self._machine, llvm.create_pipeline_tuning_options(speed_level=3)
        )
        builder.getModulePassManager().run(module, builder)
        return module

    def assembly(self, text: str) -> str:
        """The assembly for this processor."""
        return str(self._machine.emit_assembly(self.optimised(text)))

    def _compiled(self, text: str) -> bytes:
        return bytes(self._machine.emit_object(self.optimised(text)))


_FIRST = threading.Lock()
_code = cache(Code)


def machine_code() -> Code:
    """The code of this process; concurrent callers get the same object."""
    with _FIRST:
        return _code()


def _features() -> str:
    try:
        return str(llvm.get_host_cpu_features().flatten())
    except RuntimeError:  # LLVM cannot detect them on this system: the processor's name suffices
        return ""


def kernel_folder() -> Path | None:
    """The folder of compiled code, or None if there is no folder that is safe."""
    return user_folder("machine_code")


def _path(name: str) -> Path | None:
    folder = kernel_folder()
    return folder / f"{name}.o" if folder else None


def _read(name: str) -> bytes | None:
    path = _path(name)
    content = read_own(path) if path is not None else None
    key = _key(path.parent) if path is not None and content else None
    if content is None or key is None:
        return None
    code = content[_MARK:]
    return code if hmac.compare_digest(_mark(key, name, code), content[:_MARK]) else None


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
    with suppress(OSError):
        written = sorted(
            (entry.stat(follow_symlinks=False).st_mtime, entry.path)
            for entry in os.scandir(folder)
            if entry.name != _KEY
        )
        for _, path in written[: max(0, len(written) - KEPT)]:
            with suppress(OSError):  # another process may be at the same
                os.unlink(path)


def _write(name: str, code: bytes) -> None:
    """Keeps the code; a file is whole or it is not there."""
    path = _path(name)
    key = _key(path.parent) if path is not None else None
    if path is not None and key is not None:
        _prune(path.parent)
        write_own(path, _mark(key, name, code) + code)
