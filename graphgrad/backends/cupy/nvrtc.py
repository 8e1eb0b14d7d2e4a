"""NVIDIA's run-time compiler, called by ctypes: from CUDA C to a cubin, without a driver or a
device.

The library comes with the package nvidia-cuda-nvrtc, or with a CUDA toolkit of the system.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

from graphgrad.backends.cupy.libraries import places_of
from graphgrad.errors import EnvironmentLimitError

INSTALL = "python -m pip install 'graphgrad[cuda13]' (or 'graphgrad[cuda12]' for an older driver)"


class CompileError(Exception):
    """NVRTC refused a text; what it says is the message."""


class Nvrtc:
    """The compiler of one library."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._library = ctypes.CDLL(path)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def compile(self, text: str, options: Sequence[str]) -> tuple[bytes, str]:
        """The cubin of a text and what the compiler says of it; `CompileError` with the same where
        the text is refused."""
        program = ctypes.c_void_p()
        self._call(
            "nvrtcCreateProgram",
            ctypes.byref(program),
            text.encode(),
            b"graphgrad.cu",
            0,
            None,
            None,
        )
        try:
            given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            code = self._library.nvrtcCompileProgram(program, len(options), given)
            log = self._bytes("nvrtcGetProgramLog", program).decode(errors="replace").strip("\0\n")
            if code:
                raise CompileError(log or self._message(code))
            return self._bytes("nvrtcGetCUBIN", program), log
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))

    def _bytes(self, what: str, program: Any) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{what}Size", program, ctypes.byref(size))
        content = ctypes.create_string_buffer(size.value)
        self._call(what, program, content)
        return content.raw

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            raise CompileError(f"{function}: {self._message(code)}")

    def _message(self, code: int) -> str:
        return bytes(self._library.nvrtcGetErrorString(code)).decode()


@cache
def nvrtc() -> Nvrtc:
    """The compiler of this machine; EnvironmentLimitError where there is none."""
    problems = []
    for path in places_of("nvrtc"):
        try:
            return Nvrtc(path)
        except (OSError, AttributeError) as problem:
            problems.append(f"{path}: {problem}")
    tried = f" ({'; '.join(problems)})" if problems else ""
    raise EnvironmentLimitError(
        f"NVRTC, which compiles kernels for CUDA devices, is not installed{tried}", fix=INSTALL
    )
