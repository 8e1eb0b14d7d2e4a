"""Compiles LLVM IR to machine code in memory, and caches it on disk.

A text is compiled once on a machine: its code is kept (kept_code.py) under a hash of the text, of
the processor and of LLVM's version, and loaded from there by later processes.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from graphgrad.kept_code import KeptCode

_KEPT = KeptCode("machine_code", ".o")


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
                content = _KEPT.read(name)
                if content is None:
                    content = self._compiled(text())
                    _KEPT.write(name, content)
                self._engine.add_object_file(llvm.ObjectFileRef.from_data(content))
                self._engine.finalize_object()
                self._addresses[name] = self._engine.get_function_address(symbol or name)
            return self._addresses[name]

    def missing(self, name: str) -> bool:
        """Whether the function would have to be compiled."""
        return name not in self._addresses and not _KEPT.has(name)

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
    return _KEPT.folder
