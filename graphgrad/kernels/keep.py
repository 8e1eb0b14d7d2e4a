"""Functions that Numba compiles once and keeps on disk, beside the package.

Where no folder can be written, each process compiles for itself. (Kernels are printed for each
program, and kept elsewhere: see compiled.py.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

Function = Callable[..., Any]


def kept(*signature: str, **options: Any) -> Callable[[Function], Function]:
    """Compiles a function, without the interpreter's lock; at once where a signature is given."""
    compile_: Any = njit

    def compiled(function: Function) -> Function:
        try:
            return compile_(*signature, nogil=True, cache=True, **options)(function)
        except RuntimeError:  # Numba finds no folder to keep the code in
            return compile_(*signature, nogil=True, **options)(function)

    return compiled
