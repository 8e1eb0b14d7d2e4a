"""Compiles the kernels that are printed, and keeps them.

A kernel's text is its identity: identical layers share one kernel, and so do processes, through the
folder of machine_code.py. A kernel is a C function `f(first, last, arguments)`; see threads.py for
how it is called. LLVM compiles one at a time, a few hundredths of a second each; where many are
missing, other processes compile their share of them into the folder.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache

from graphgrad.loops.compiled_functions import exported, translator_digest
from graphgrad.loops.expressions import Name
from graphgrad.loops.language import INFINITY, NAN, Function
from graphgrad.loops.library import mathematics, philox, sums
from graphgrad.loops.llvm_text import Number
from graphgrad.loops.machine_code import kernel_folder, machine_code
from graphgrad.loops.translate import translate

KERNELS_A_PROCESS = 12
"""Fewer are compiled sooner than another process has started."""
_LIBRARY: Mapping[str, Name] = {
    **{name: its for name, its in vars(mathematics).items() if isinstance(its, Function)},
    "add_exactly": sums.add_exactly,
    "settled": sums.settled,
    "fill_mask_float32": philox.fill_mask_float32,
    "fill_mask_float64": philox.fill_mask_float64,
    "inf": Number(INFINITY),
    "nan": Number(NAN),
}
"""What the text of a kernel may name."""
_ADD_PARTS = """def kernel(first: int64, last: int64, arguments: int64):
    given = array(arguments, int64, 4)
    blocks, size = given[0], given[1]
    parts = array(given[2], {dtype}, blocks, size)
    sums = array(given[3], {dtype}, size)
    lost = empty(size, {dtype})
    for column in independent(size):
        sums[column], lost[column] = parts[0, column], {dtype}(0)
    for block in range(1, blocks):
        for column in independent(size):
            sums[column], lost[column] = add_exactly(
                sums[column], lost[column], parts[block, column]
            )
    for column in independent(size):
        sums[column] = settled(sums[column], lost[column])
"""


@cache
def compile_kernel(text: str) -> int:
    """The address of the kernel of this text, compiled or found on disk."""
    name = _name(text)
    for called, function in _LIBRARY.items():
        if isinstance(function, Function) and function.separate and f"{called}(" in text:
            exported(function)  # it has to lie in memory before what calls it
    return machine_code().address(name, lambda: llvm_text(text, name))


def llvm_text(text: str, name: str = "kernel") -> str:
    """The kernel as LLVM reads it."""
    definition = ast.parse(text).body[0]
    assert isinstance(definition, ast.FunctionDef)
    return translate(definition, name, _LIBRARY)


def assembly(text: str) -> str:
    """The kernel in the processor's own language."""
    return machine_code().assembly(llvm_text(text))


def compile_add_parts(dtype: str) -> int:
    """The kernel that adds up the parts of a collected sum, in the order of the blocks."""
    return compile_kernel(_ADD_PARTS.format(dtype=dtype))


def compile_together(texts: Iterable[str], processes: int) -> None:
    """Sees to it that kernels are on disk, with the help of other processes where many are missing.

    What another process cannot do is left for `compile_kernel`, which then tells why.
    """
    if kernel_folder() is None:
        return
    missing = [text for text in dict.fromkeys(texts) if machine_code().missing(_name(text))]
    processes = min(processes, len(missing) // KERNELS_A_PROCESS)
    command = [sys.executable, "-P", "-c", "from graphgrad.loops.kernel_cache import main; main()"]
    helpers = []
    try:
        for number in range(1, processes):
            with suppress(OSError):
                helper = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                helpers.append(helper)
                assert helper.stdin is not None
                helper.stdin.write(json.dumps(missing[number::processes]).encode())
                helper.stdin.close()
        for text in missing[::processes] if processes else []:
            compile_kernel(text)
        for helper in helpers:
            helper.wait()
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()


def main() -> None:
    """What a helping process does: compiles the kernels that it is given."""
    for text in json.load(sys.stdin):
        compile_kernel(text)


def _name(text: str) -> str:
    return machine_code().name_of(f"{translator_digest()}\n{text}")
