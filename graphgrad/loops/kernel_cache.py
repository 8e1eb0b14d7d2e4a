"""Compiles generated kernels to machine code and caches them on disk.

A kernel is identified by its text: equal layers share one kernel, and so do processes, through
the folder of machine_code.py. A kernel is a C function `f(first, last, arguments)`, which
threads.py calls. LLVM compiles one kernel at a time, in some hundredths of a second; if many are
missing, other processes compile part of them into the folder.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache

from graphgrad.loops.compiled_functions import (
    compile_function,
    separate_functions_of,
    translator_digest,
)
from graphgrad.loops.expressions import Symbol
from graphgrad.loops.language import INFINITY, NAN, Function
from graphgrad.loops.library import (
    attention,
    attention_delta,
    mathematics,
    philox,
    products,
    sums,
)
from graphgrad.loops.llvm_text import Literal
from graphgrad.loops.machine_code import kernel_folder, machine_code
from graphgrad.loops.translate import translate

KERNELS_A_PROCESS = 12
"""Another process is started for no fewer kernels: it takes as long to start."""
_SYMBOLS: Mapping[str, Symbol] = {
    **{name: its for name, its in vars(mathematics).items() if isinstance(its, Function)},
    "add_exactly": sums.add_exactly,
    "settled": sums.settled,
    "fill_mask_float32": philox.fill_mask_float32,
    "fill_mask_float64": philox.fill_mask_float64,
    "attention_values": attention.attention_values,
    "attention_deltas": attention_delta.attention_deltas,
    "multiply_tile": products.multiply_tile,
    "multiply_columns": products.multiply_columns,
    "multiply_rows": products.multiply_rows,
    "product_memory": products.product_memory,
    "inf": Literal(INFINITY),
    "nan": Literal(NAN),
}
"""The functions and constants that the text of a kernel may use."""
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
    """The address of the kernel with this text, compiled or loaded from disk."""
    name = _name(text)
    for symbol, function in _SYMBOLS.items():
        if isinstance(function, Function) and f"{symbol}(" in text:
            for called in separate_functions_of(function):
                compile_function(called)  # its callers are linked against it
    return machine_code().address(name, lambda: kernel_llvm_text(text, name))


def kernel_llvm_text(text: str, name: str = "kernel") -> str:
    """The LLVM text of a kernel."""
    definition = ast.parse(text).body[0]
    assert isinstance(definition, ast.FunctionDef)
    return translate(definition, name, _SYMBOLS)


def kernel_assembly(text: str) -> str:
    """The assembly of a kernel for this processor."""
    return machine_code().assembly(kernel_llvm_text(text))


def compile_add_partial_sums(dtype: str) -> int:
    """The address of the kernel that adds up partial sums, in the order of the blocks."""
    return compile_kernel(_ADD_PARTS.format(dtype=dtype))


def compile_in_parallel(texts: Iterable[str], processes: int) -> None:
    """Compiles missing kernels in parallel processes, into the folder of compiled code.

    Failures are ignored here; `compile_kernel` retries and raises.
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
    """Compiles the kernels that another process sends: their texts, as JSON on standard input."""
    for text in json.load(sys.stdin):
        compile_kernel(text)


def _name(text: str) -> str:
    return machine_code().name_of(f"{translator_digest()}\n{text}")
