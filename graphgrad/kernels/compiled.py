"""Compiles kernels with Numba and keeps them on disk.

A kernel's text is its identity: identical layers share one kernel, and compiled code is kept under
a hash of the text and of what it calls. A kernel is a C function `f(first, last, arguments)`; see
native.py for how it is called.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

from numba import cfunc

from graphgrad.kernels import functions, intrinsics, native, philox_compiled

_SIGNATURE = "void(int64, int64, int64)"
_HEADER = '''"""A kernel that graphgrad generated; see graphgrad/kernels/loops.py."""
from graphgrad.kernels.functions import NAMESPACE
globals().update(NAMESPACE)
'''
# no fast mathematics: an elementwise value is rounded as NumPy rounds it
_OPTIONS: dict[str, Any] = {"nopython": True, "error_model": "numpy"}
_ADD_PARTS = """def kernel(first, last, arguments):
    given = carray(pointer(arguments, int64), 4)
    blocks, size = given[0], given[1]
    parts = carray(pointer(given[2], {dtype}), (blocks, size))
    total = carray(pointer(given[3], {dtype}), size)
    total[:] = parts[0]
    for block in range(1, blocks):
        for column in range(size):
            total[column] += parts[block, column]
"""


@cache
def compile_kernel(text: str) -> Any:
    """The kernel of this text, compiled or found on disk; `address` is where it lies."""
    folder = _cache_folder()
    if folder is not None:
        digest = hashlib.sha256((_HEADER + _functions_text() + text).encode()).hexdigest()
        path = folder / f"kernel_{digest[:24]}.py"
        if not path.exists():
            temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            temporary.write_text(_HEADER + text)
            os.replace(temporary, path)
        spec = importlib.util.spec_from_file_location(f"graphgrad_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where Numba looks for what it kept on disk
        spec.loader.exec_module(module)
        return cfunc(_SIGNATURE, cache=True, **_OPTIONS)(module.kernel)
    namespace = dict(functions.NAMESPACE)
    exec(compile(text, "<graphgrad kernel>", "exec"), namespace)
    return cfunc(_SIGNATURE, **_OPTIONS)(namespace["kernel"])


def compile_add_parts(dtype: str) -> Any:
    """The kernel that adds up the parts of a collected sum, in the order of the blocks."""
    return compile_kernel(_ADD_PARTS.format(dtype=dtype))


@cache
def _functions_text() -> str:
    """What kernels call, as text: a kernel that was kept is not used with other functions."""
    return "".join(map(inspect.getsource, (functions, intrinsics, native, philox_compiled)))


def _cache_folder() -> Path | None:
    """Where generated kernels are kept, or None where nothing can be written."""
    base = os.environ.get("GRAPHGRAD_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "graphgrad"
    )
    folder = Path(base) / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return folder if os.access(folder, os.W_OK) else None
    except OSError:
        return None
