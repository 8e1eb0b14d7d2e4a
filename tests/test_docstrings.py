"""Every public name has an example in its docstring, and every example gives what it shows."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.passes import surgery

LAYERS = ("graph", "ops", "backprop", "passes", "compile", "errors", "layers", "data", "training")
"""The parts of the package whose public names have examples."""
PACKAGES: tuple[ModuleType, ...] = (surgery, gg.layers, gg.data, gg.training)
"""Modules all of whose public names have examples."""
CLASSES = (gg.Graph, gg.Node, gg.Compiled)
"""Classes whose public methods and properties have examples."""


def layer_of(value: Any) -> str:
    """The part of the package that a public value comes from."""
    if isinstance(value, gg.Operation):
        return "ops"
    module = str(getattr(value, "__module__", ""))
    return module.split(".")[1] if module.startswith("graphgrad.") else ""


def public() -> Iterator[tuple[str, Any]]:
    """The public names that must have examples, with their values."""
    for name in gg.__all__:
        value = getattr(gg, name)
        if layer_of(value) in LAYERS:
            yield f"gg.{name}", value
    for module in PACKAGES:
        for name in module.__all__:
            if not name.isupper():
                yield f"{module.__name__}.{name}", getattr(module, name)
    for each in CLASSES:
        for name in dir(each):
            value = inspect.getattr_static(each, name)
            if not name.startswith("_") and isinstance(
                value, property | cached_property | type(layer_of)
            ):
                yield f"gg.{each.__name__}.{name}", value


NAMES = dict(public())


def run(docstring: str, name: str) -> tuple[int, str]:
    """The number of examples in a docstring, and a report of those that fail."""
    found = doctest.DocTestParser().get_doctest(docstring, {"gg": gg, "np": np}, name, None, 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failed = runner.run(found, out=report.append).failed
    return len(found.examples), "".join(report) if failed else ""


def test_all_parts_are_found():
    assert set(LAYERS) == {layer_of(value) for value in NAMES.values()} - {""}
    assert {"gg.tanh", "gg.Graph.delta", "gg.Node.sum", "graphgrad.passes.surgery.clip"} <= {*NAMES}


def test_a_wrong_example_is_reported():
    count, report = run(">>> 1 + 1\n3\n", "wrong")
    assert count == 1 and "Got:\n    2" in report


@pytest.mark.parametrize("name", NAMES)
def test_the_example(name):
    count, report = run(inspect.getdoc(NAMES[name]) or "", name)
    assert count > 0, f"{name} has no example"
    assert not report, report
