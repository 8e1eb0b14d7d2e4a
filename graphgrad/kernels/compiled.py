"""Compiles kernels with Numba and keeps them on disk.

A kernel's text is its identity: identical layers share one kernel, and compiled code is kept under
a hash of the text and of what it calls. A kernel is a C function `f(first, last, arguments)`; see
native.py for how it is called.

Numba compiles one kernel at a time, mostly in Python, and takes a fraction of a second for each. So
where many are missing, other processes compile their share of them into the folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import cfunc

from graphgrad.kernels import functions, intrinsics, native, philox_compiled

KERNELS_A_PROCESS = 4
"""Fewer are compiled sooner than another process has started."""
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
    path = _written(text)
    if path is not None:
        spec = importlib.util.spec_from_file_location(f"graphgrad_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where Numba looks for what it kept on disk
        spec.loader.exec_module(module)
        return cfunc(_SIGNATURE, cache=True, **_OPTIONS)(module.kernel)
    namespace = dict(functions.NAMESPACE)
    exec(compile(text, "<graphgrad kernel>", "exec"), namespace)
    return cfunc(_SIGNATURE, **_OPTIONS)(namespace["kernel"])


def compile_together(texts: Iterable[str], processes: int) -> None:
    """Sees to it that kernels are on disk, with the help of other processes where many are missing.

    What another process cannot do is left for `compile_kernel`, which then tells why.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return  # Numba keeps its code elsewhere, under names of its own
    paths = [path for path in map(_written, dict.fromkeys(texts)) if path is not None]
    missing = [
        path for path in paths if not any(path.parent.glob(f"__pycache__/{path.stem}.*.nbi"))
    ]
    processes = min(processes, len(missing) // KERNELS_A_PROCESS)
    command = [sys.executable, "-P", "-c", "from graphgrad.kernels.compiled import main; main()"]
    helpers = []
    try:
        for number in range(1, processes):
            share = [str(path) for path in missing[number::processes]]
            with suppress(OSError):
                helpers.append(
                    subprocess.Popen(
                        [*command, *share],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )
        for path in missing[::processes] if processes else []:
            compile_kernel(_text_at(path))
        for helper in helpers:
            helper.wait()
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()


def main() -> None:
    """What a helping process does: compiles the kernels at the paths that it was given."""
    for path in sys.argv[1:]:
        compile_kernel(_text_at(Path(path)))


def _text_at(path: Path) -> str:
    return path.read_text().removeprefix(_HEADER)


def _written(text: str) -> Path | None:
    """The file of a kernel, which Numba compiles and keeps its code beside; None without one."""
    folder = _cache_folder()
    if folder is None:
        return None
    digest = hashlib.sha256((_HEADER + _functions_text() + text).encode()).hexdigest()
    path = folder / f"kernel_{digest[:24]}.py"
    if not path.exists():
        temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        temporary.write_text(_HEADER + text)
        os.replace(temporary, path)
    return path


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
