"""From the text of LLVM to machine code in memory, kept on disk.

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
    """Machine code of this process: functions by the text they are made of."""

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
        """A name for the function that a source describes, the same on the same machine."""
        return "f" + hashlib.sha256(f"{self._identity}\n{source}".encode()).hexdigest()[:32]

    def address(self, name: str, text: Callable[[], str], symbol: str = "") -> int:
        """Where the function of this name lies; `text` prints it in case it is missing.

        `symbol` is what its text calls it, if not by its name.
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
        """The text as LLVM has optimised it for this processor."""
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
        """The text in the processor's own language."""
        return str(self._machine.emit_assembly(self.optimised(text)))

    def _compiled(self, text: str) -> bytes:
        return bytes(self._machine.emit_object(self.optimised(text)))


_FIRST = threading.Lock()
_code = cache(Code)


def machine_code() -> Code:
    """The code of this process; threads that ask at once get the same."""
    with _FIRST:
        return _code()


def _features() -> str:
    try:
        return str(llvm.get_host_cpu_features().flatten())
    except RuntimeError:  # LLVM cannot tell on this system: the processor's name says enough
        return ""


def kernel_folder() -> Path | None:
    """Where machine code is kept, or None where nothing can be kept safely."""
    return _KEPT.folder
