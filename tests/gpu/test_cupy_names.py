"""The names of CuPy that cupy_device.py calls exist in the CuPy that is installed."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from graphgrad.backends.cupy import cupy_device

cupy = pytest.importorskip("cupy")

CALLED = {
    "Stream": ("begin_capture", "end_capture", "synchronize", "wait_event", "ptr"),
    "Event": ("done", "record", "synchronize"),
    "MemoryPointer": ("copy_from_host_async", "copy_from_device_async", "ptr"),
    "Graph": ("launch",),
    "Device": ("compute_capability", "id", "mem_info", "use"),
}


@pytest.mark.parametrize("name", CALLED)
def test_classes_have_what_is_called(name):
    kind = getattr(cupy.cuda, name)
    source = Path(inspect.getfile(cupy_device)).read_text()
    for each in CALLED[name]:
        assert each in source or each == "use"
        assert hasattr(kind, each) or each == "ptr", each


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
