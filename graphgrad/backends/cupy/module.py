"""Compiles kernels for a device, whether one is there or not, and keeps the code.

The code that tests compile is the code that a device runs: a cubin for its architecture (`sm_90` is
Hopper), kept under a hash of the text, the options and NVRTC's version (kept_code.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphgrad.backends.cupy.kernel_files import device_functions
from graphgrad.backends.cupy.nvrtc import CompileError, nvrtc
from graphgrad.errors import ConfigurationError, PassError
from graphgrad.kept_code import KeptCode

OPTIONS = ("--std=c++17", "--fmad=false")
"""Floats are rounded one by one, as on a processor; NVRTC's own functions keep their accuracy."""
KEPT = KeptCode("cubins", ".cubin")
_USAGE = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?"
    r"Used (\d+) registers",
    re.DOTALL,
)
_ERROR = re.compile(r"graphgrad\.cu\((\d+)\): (?:catastrophic )?error")
_KERNEL = re.compile(r"__global__ .*?(\w+)\(\n")
_ARCHITECTURE = re.compile(r"sm_\d{2,3}[a-z]?")


def compile_cuda(
    text: str, architecture: str, names: Mapping[str, Sequence[str]] | None = None
) -> bytes:
    """The cubin of a text of CUDA C for an architecture such as "sm_90".

    `names` are those of the nodes that each kernel computes: where NVRTC refuses the text, the
    error has its log and names the nodes of the kernels that are wrong. Raises
    EnvironmentLimitError where NVRTC is not installed.
    """
    if not _ARCHITECTURE.fullmatch(architecture):
        raise ConfigurationError(
            f"{architecture!r} is no architecture of a CUDA device",
            fix='name one like "sm_80" (Ampere) or "sm_90" (Hopper)',
        )
    compiler = nvrtc()
    options = (f"--gpu-architecture={architecture}", *OPTIONS)
    key = "\0".join([compiler.version, *options, text])
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    code = KEPT.read(name)
    if code is None:
        try:
            code, _ = compiler.compile(text, options)
        except CompileError as problem:
            raise PassError(
                f"NVRTC {compiler.version} refuses the kernels for {architecture}:\n{problem}",
                ", ".join(_nodes_of_errors(text, str(problem), names or {})),
                fix="report this with the graph that it came from",
            ) from None
        KEPT.write(name, code)
    return code


def _nodes_of_errors(text: str, log: str, names: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """The nodes of the kernels in which the errors of a log lie."""
    lines = text.splitlines()
    found: dict[str, None] = {}
    for number in map(int, _ERROR.findall(log)):
        heads = _KERNEL.findall("\n".join(lines[:number]))
        found.update(dict.fromkeys(names.get(heads[-1], ()) if heads else ()))
    return found


@dataclass(frozen=True, slots=True)
class Usage:
    """What one thread of a kernel takes."""

    registers: int
    stack_bytes: int
    spilled_bytes: int
    """What does not fit into registers and is written to memory."""


def usage_of(text: str, architecture: str) -> dict[str, Usage]:
    """What the threads of each kernel of a text take on an architecture, as ptxas says."""
    options = (f"--gpu-architecture={architecture}", *OPTIONS, "--ptxas-options=-v")
    _, log = nvrtc().compile(text, options)
    return {
        name: Usage(int(registers), int(stack), int(spilled))
        for name, stack, spilled, registers in _USAGE.findall(log)
    }


def module_text(kernels: Mapping[str, str]) -> str:
    """One text of many kernels, with the functions that they call in front."""
    return "\n".join([device_functions(), *kernels.values()])
