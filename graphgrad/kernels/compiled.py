"""Compiles loop nests with Numba, keeps them, and runs them on all cores.

A kernel's text is its identity: identical layers share one kernel, and compiled code is kept on
disk under a hash of the text. The rows are cut into a fixed number of blocks, whatever the number
of threads; so sums over rows are added in the same order on one thread as on many.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from graphgrad.kernels import functions, philox_compiled
from graphgrad.kernels.loops import LoopNest, block_count

SERIAL = 1 << 16
"""Elements below which handing work to another thread costs more than it saves."""

_HEADER = '''"""A kernel that graphgrad generated; see graphgrad/kernels/loops.py."""
from graphgrad.kernels.functions import NAMESPACE
globals().update(NAMESPACE)
'''
# no fast mathematics: an elementwise value is rounded as NumPy rounds it
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


@cache
def compile_kernel(text: str) -> Callable[..., None]:
    """The kernel of this text; compiled when it is first called, from disk where it was before."""
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
        return njit(cache=True, **_OPTIONS)(module.kernel)
    namespace = dict(functions.NAMESPACE)
    exec(compile(text, "<graphgrad kernel>", "exec"), namespace)
    return njit(**_OPTIONS)(namespace["kernel"])


@cache
def _functions_text() -> str:
    """What kernels call, as text: a kernel that was kept is not used with other functions."""
    return "".join(map(inspect.getsource, (functions, philox_compiled)))


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


class Workers:
    """The project's threads. They sleep until a kernel hands them blocks."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count - 1, "graphgrad") if count > 1 else None

    def run(self, kernel: Callable[..., None], blocks: int, arguments: Sequence[Any]) -> None:
        """Calls `kernel(first, last, *arguments)` so that every block is done once."""
        if self._pool is None or blocks < 2:
            kernel(0, blocks, *arguments)
            return
        share = -(-blocks // self.count)
        futures: list[Future[None]] = [
            self._pool.submit(kernel, first, min(first + share, blocks), *arguments)
            for first in range(share, blocks, share)
        ]
        try:
            kernel(0, share, *arguments)
        finally:
            for future in futures:
                future.result()


def usable_cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


@cache
def shared_workers(count: int) -> Workers:
    """One pool for each number of threads, shared by all programs."""
    return Workers(count)


def bind_kernel(nest: LoopNest, threads: int) -> Callable[..., None]:
    """A function of the arrays of a nest, in its order: arguments, outputs, then one array
    [blocks, …] of parts and the result for each collected sum."""
    kernel = compile_kernel(nest.text)
    rows, columns = nest.rows, nest.columns
    blocks = block_count(rows)
    height = -(-rows // blocks)
    workers = shared_workers(threads if rows * columns >= SERIAL else 1)
    sums = len(nest.collected)

    def run(*arrays: Any) -> None:
        given = arrays[: len(arrays) - sums]
        workers.run(kernel, blocks, (height, rows, columns, *given))
        parts = given[len(given) - sums :]
        for part, out in zip(parts, arrays[len(arrays) - sums :], strict=True):
            np.sum(part, axis=0, out=out.reshape(part.shape[1:]))

    return run
