"""Runs kernels in CUDA C, and whole programs of the device, on this processor.

The text of the kernels is not changed: `cuda_cpu.h` stands in front of it, and g++ makes a
library of all of them. `needs_compiler` and `needs_nvrtc` skip a test where one is missing.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gemm_numpy import blas

from graphgrad.backends.arguments import RowTable
from graphgrad.backends.cupy.kernel_files import device_functions
from graphgrad.backends.cupy.launches import (
    ARENA,
    NUMBERS,
    REFUSED,
    SCRATCH,
    Array,
    Computed,
    DeviceProgram,
    Launch,
    Pointer,
    Product,
    Rows,
)
from graphgrad.backends.cupy.nvrtc import nvrtc
from graphgrad.errors import EnvironmentLimitError
from graphgrad.graph import constant, leaf_name

_KERNEL = re.compile(r"__global__ .*?(\w+)\(\n")
HEADERS = [Path(__file__).parent / "gpu" / f"cuda_cpu{part}.h" for part in ("", "_tensor")]
COMPILER = shutil.which("g++") if sys.platform == "linux" else None
FLAGS = ("-std=c++17", "-Og", "-w", "-fPIC", "-ffp-contract=off", "-fno-strict-aliasing")
try:
    nvrtc()
except EnvironmentLimitError as problem:
    _MISSING = str(problem)
else:
    _MISSING = ""
needs_nvrtc = pytest.mark.skipif(bool(_MISSING), reason=_MISSING or "NVRTC is there")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="it needs g++ on Linux")


class LaunchError(Exception):
    """A launch met what a device leaves undefined."""


def source_of(kernels: Mapping[str, str]) -> str:
    """All kernels with the header in front."""
    return _launchable("\n".join([device_functions(), *kernels.values()]), kernels)


def _launchable(text: str, names: Iterable[str]) -> str:
    return "\n".join(['#include "cuda_cpu.h"', text, *(f"LAUNCHABLE({n})" for n in names), ""])


def compiled(source: str, *flags: str, shared: bool = True) -> Path:
    """The library (or program) of a text, compiled unless that was done before."""
    assert COMPILER is not None
    every = (*FLAGS, *(("-shared",) if shared else ()), *flags)
    key = "\0".join([COMPILER, *every, *(its.read_text() for its in HEADERS), source])
    path = _folder() / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not path.exists():
        text, made = path.with_suffix(f".{os.getpid()}.cpp"), path.with_suffix(f".{os.getpid()}")
        text.write_text(source)
        folders = [HEADERS[0].parent] if flags else [_precompiled(), HEADERS[0].parent]
        read = [word for folder in folders for word in ("-I", str(folder))]
        command = [COMPILER, *every, *read, str(text), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:4000]
        made.replace(path)
        text.unlink()
    return path


@functools.cache
def _precompiled() -> Path:
    """The folder of the header as g++ reads it soonest; where it cannot, it reads the header."""
    key = "\0".join([str(COMPILER), *FLAGS, *(its.read_text() for its in HEADERS)])
    folder = _folder() / f"header-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    path = folder / f"{HEADERS[0].name}.gch"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        made = path.with_suffix(f".{os.getpid()}")
        command = [COMPILER, *FLAGS, "-x", "c++-header", str(HEADERS[0]), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True)
        made.replace(path)
    return folder


@functools.cache
def _folder() -> Path:
    """Where libraries are kept: with the results of the tests, or nowhere for long."""
    kept = os.environ.get("GRAPHGRAD_CACHE")
    folder = Path(kept) / "cuda_cpu" if kept else Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def _library(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    library.cuda_cpu_launch.restype = ctypes.c_char_p
    library.cuda_cpu_launch.argtypes = [
        *(ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint64)
    ]
    return library


class Device:
    """Kernels made for this processor."""

    def __init__(self, kernels: Mapping[str, str], *flags: str) -> None:
        self.names = tuple(kernels)
        self.library = _library(compiled(source_of(kernels), *flags))

    @classmethod
    def of_module(cls, text: str) -> Device:
        """The kernels of a text that has all that they call."""
        device = cls.__new__(cls)
        device.names = tuple(_KERNEL.findall(text))
        device.library = _library(compiled(_launchable(text, device.names)))
        return device

    def launch(self, kernel: str, grid: int, block: int, words: Iterable[int], seed: int) -> None:
        """Runs a kernel; `seed` is that of the order in which its threads run."""
        given = np.array([*words, 0], np.int64)
        error = self.library.cuda_cpu_launch(kernel.encode(), grid, block, given.ctypes.data, seed)
        if error:
            raise LaunchError(f"{kernel}: {error.decode()}")


class Bound:
    """A program of the device with memory, on this processor."""

    def __init__(self, program: DeviceProgram, device: Device | None = None) -> None:
        self.program = program
        self.device = device or Device(program.kernels)
        self.memory: dict[Any, np.ndarray] = {
            ARENA: _aligned(program.arena_bytes),
            NUMBERS: _aligned(program.numbers_bytes),
            SCRATCH: _aligned(program.scratch_bytes),
            REFUSED: np.zeros(program.flags, np.int32),
        }
        for leaf, array in program.leaves.items():
            self.memory[leaf] = _aligned(max(1, array.size * array.dtype.itemsize))
            if leaf.operation is constant:
                self.array(array)[...] = leaf.attributes["value"].array

    def run(self, values: Mapping[str, Any], seed: int = 1) -> dict[str, np.ndarray]:
        """Runs all actions; `values` are inputs and states by name."""
        for leaf, array in self.program.leaves.items():
            if leaf.operation is not constant and leaf_name(leaf) in values:
                self.array(array)[...] = values[leaf_name(leaf)]
        for unset in (ARENA, NUMBERS, SCRATCH):
            self.memory[unset][...] = 0xFF
        for number, action in enumerate(self.program.actions):
            with np.errstate(all="ignore"):
                self.act(action, seed + number)
        assert not self.memory[REFUSED].any(), "a bad index"
        return {name: self.array(its).copy() for name, its in self.program.outputs.items()}

    def act(self, action: Any, seed: int) -> None:
        """Does what an action says."""
        if isinstance(action, Launch):
            words = map(self.word, action.words)
            self.device.launch(action.kernel, action.grid, action.block, words, seed)
        elif isinstance(action, Product) and action.gemm is not None:
            heads = list(map(self.array, action.heads))
            left, right = reversed(heads) if action.gemm.swapped else heads
            extra = {
                name: None if its is None else self.array(its)
                for name, its in action.extras.named().items()
            }
            blas(action.gemm, left, right, self.array(action.out), extra)
        else:
            keywords = dict(action.node.attributes)
            if isinstance(action, Computed) and action.scratch:
                keywords["scratch"] = tuple(map(self.array, action.scratch))
            heads = map(self.array, action.heads)
            action.node.operation.compute(np, self.array(action.out), *heads, **keywords)

    def state(self) -> dict[str, np.ndarray]:
        """All states by name."""
        return {
            leaf_name(leaf): self.array(array).copy()
            for leaf, array in self.program.leaves.items()
            if leaf.operation is not constant
        }

    def array(self, array: Array) -> np.ndarray:
        """The numbers themselves."""
        memory = self.memory[array.memory]
        return np.ndarray(array.shape, array.dtype, memory.data, array.offset, array.strides)

    def table(self, table: RowTable | Rows) -> np.ndarray:
        """A table that a kernel reads."""
        if isinstance(table, RowTable):
            return table.array()
        return np.array([list(map(self.word, row)) for row in table.rows], np.int64)

    def word(self, word: int | Pointer) -> int:
        """A parameter as a number."""
        if not isinstance(word, Pointer):
            return word
        if isinstance(word.memory, RowTable | Rows) and word.memory not in self.memory:
            self.memory[word.memory] = self.table(word.memory)
        return int(self.memory[word.memory].ctypes.data) + word.offset


def _aligned(size: int) -> np.ndarray:
    """Bytes that begin at a multiple of 64."""
    raw = np.full(size + 64, 0xFF, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + max(size, 1)]
