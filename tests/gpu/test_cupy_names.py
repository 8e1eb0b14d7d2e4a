"""What cupy_device.py calls of CuPy exists in the CuPy that is installed, with the arguments of the
module that stands for it in the tests."""

from __future__ import annotations

import ast
import inspect
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import Cuda
from fake_cupy import FakeCupy

from graphgrad.backends.cupy import cupy_device

cupy = pytest.importorskip("cupy")

CALLED = {
    "Stream": ("", "begin_capture", "end_capture", "synchronize", "wait_event", "__enter__"),
    "Event": ("", "record", "synchronize", "done"),
    "MemoryPointer": ("copy_from_host_async", "copy_from_device_async", "ptr", "__add__"),
    "Graph": ("launch",),
    "Device": ("compute_capability", "id", "mem_info", "__enter__"),
    "alloc": ("",),
    "alloc_pinned_memory": ("",),
    "get_elapsed_time": ("",),
}


def parameters_of(function: Any) -> list[tuple[str, Any]]:
    """The parameters behind `self`, and their defaults; of a compiled function by its text."""
    try:
        found = inspect.signature(function).parameters.values()
    except ValueError:
        words = re.search(r"\((.*)\)", function.__doc__.splitlines()[0])
        assert words is not None
        its = [word.strip().partition("=") for word in words[1].split(",")]
        named = [(name.split()[-1], default or None) for name, _, default in its if name]
    else:
        empty = inspect.Parameter.empty
        named = [(p.name, None if p.default is empty else repr(p.default)) for p in found]
    return [each for each in named if each[0] != "self"]


@pytest.mark.parametrize("name", CALLED)
def test_classes_have_what_is_called_with_these_arguments(name):
    real, fake = getattr(cupy.cuda, name), getattr(FakeCupy(Cuda()).cuda, name)
    for each in CALLED[name]:
        theirs = getattr(real, each) if each else real
        kind = fake.func if isinstance(fake, partial) else fake
        mine = getattr(kind, each, None) if each else fake
        if callable(mine) and not each.startswith("__"):
            known = parameters_of(theirs)
            assert [p for p in parameters_of(mine) if p not in known] == [], (name, each)


@pytest.mark.parametrize("name", ["asnumpy", "asarray", "get_default_memory_pool"])
def test_functions_have_these_arguments(name):
    known = parameters_of(getattr(cupy, name))
    assert [p for p in parameters_of(getattr(FakeCupy(Cuda()), name)) if p not in known] == []


def test_modules_arrays_and_errors_are_of_this_form():
    module = cupy.RawModule(path="none.cubin")  # the file is read when a kernel is asked for
    assert parameters_of(module.get_function) == [("name", None)]
    assert [each for each, _ in parameters_of(cupy.RawKernel.__call__)][:3] == [
        *("grid", "block", "args")
    ]
    with pytest.raises(TypeError, match="path"):
        cupy.RawModule()
    for word in ("memptr", "strides"):
        assert word in cupy.ndarray.__doc__
    assert parameters_of(cupy.ndarray.set) == [("arr", None), ("stream", "None")]
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError)
    for name in ("used_bytes", "free_bytes", "total_bytes"):
        assert callable(getattr(cupy.get_default_memory_pool(), name))


def test_functions_of_the_module_exist():
    """Every chain such as `array_module.cuda.alloc` that the file writes."""
    tree = ast.parse(Path(inspect.getfile(cupy_device)).read_text())
    written = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    chains = [each for each in written if each.startswith(("cupy.", "self.array_module."))]
    assert len(chains) > 8
    for chain in (chain for chain in chains if "(" not in chain):
        its = cupy
        for part in chain.removeprefix("self.array_module.").removeprefix("cupy.").split("."):
            its = getattr(its, part)
