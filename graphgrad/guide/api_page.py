"""The page of all public names, made of signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import graphgrad
from graphgrad import layers
from graphgrad.graph import Operation
from graphgrad.graph.manual import example_text
from graphgrad.graph.node import TypedOperation
from graphgrad.guide.markdown import code, docstring_text
from graphgrad.passes import surgery as cuts
from graphgrad.training import settings, task

_WIDTH = 88
_INTRODUCTION = """# API

Every public name of `import graphgrad as gg`, then layers, cuts and the parts of a model file, each
with its signature and what its docstring says. In Python: `help(gg.name)`.
"""
_HEADINGS: Mapping[str, str] = {
    "graph": "Graphs, nodes and leaves",
    "ops": "Operations and functions on nodes",
    "backprop": "Deriving",
    "passes": "Cutting deltas",
    "compile": "Compiling and running",
    "errors": "Errors",
}
_FURTHER: Mapping[str, ModuleType] = {
    "Layers": layers,
    "Cuts": cuts,
    "Tasks": task,
    "Settings of training": settings,
}
_WANTED: Mapping[str, tuple[str, ...]] = {
    "Cuts": ("clip", "clip_norm", "scale", "stop", "replace"),
    "Tasks": ("Task",),
    "Settings of training": ("TrainingSettings",),
}


def api_page() -> str:
    """The page as Markdown."""
    lines = [_INTRODUCTION]
    groups: dict[str, list[str]] = {}
    for name in sorted(graphgrad.__all__, key=str.lower):
        groups.setdefault(_layer(getattr(graphgrad, name)), []).append(name)
    order = [*_HEADINGS, *sorted(groups.keys() - _HEADINGS.keys())]
    for layer in order:
        if layer in groups:
            lines += [f"## {_HEADINGS.get(layer, layer.capitalize())}\n"]
            for name in groups[layer]:
                lines += _block(f"gg.{name}", getattr(graphgrad, name))
    for heading, module in _FURTHER.items():
        names = _WANTED.get(heading) or sorted(module.__all__, key=str.lower)
        lines += [f"## {heading}\n", f"From `{module.__name__}`.", ""]
        for name in names:
            lines += _block(name, getattr(module, name))
    return "\n".join(lines)


def _layer(value: Any) -> str:
    """The part of the package that a public value comes from."""
    if isinstance(value, Operation) and not isinstance(value, TypedOperation):
        return "ops"
    if isinstance(value, ModuleType):
        return "modules"
    parts = str(getattr(value, "__module__", "")).split(".")
    return parts[1] if len(parts) > 1 else "further"


def _block(name: str, value: Any) -> Iterator[str]:
    yield f"### {name}\n"
    signature = "" if isinstance(value, ModuleType) else _signature(name, value)
    if signature:
        yield f"```python\n{signature}\n```\n"
    if isinstance(value, Operation) and value.arity != 0:
        yield f"y = {code(value.formula)}" + (
            f", and back: {code(value.delta_formula)}.\n" if value.delta_formula else ".\n"
        )
    documented = _documented(value)
    if documented:
        yield docstring_text(documented) + "\n"
    fields = list(_fields(value)) if isinstance(value, type) else []
    if fields:
        yield "\n".join(fields) + "\n"


def _documented(value: Any) -> str:
    """What the value says of itself. The block of an operation is shown already."""
    if isinstance(value, TypedOperation):
        example = example_text(*value.example) if value.example else ""
        return f"{inspect.getdoc(value.declare)}\n\n{inspect.cleandoc(example)}".rstrip()
    if isinstance(value, Operation):
        return ""
    return inspect.cleandoc(value.__doc__) if isinstance(value.__doc__, str) else ""


def _signature(name: str, value: Any) -> str:
    """How the value is called, a line for each argument where one line is too long for all."""
    if not callable(value):
        return ""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    empty = inspect.Signature.empty
    if isinstance(value, type):
        signature = signature.replace(return_annotation=empty)
    text = _plain(f"{name}{signature}")
    if len(text) <= _WIDTH:
        return text
    arguments = "".join(f"    {_plain(str(each))},\n" for each in signature.parameters.values())
    result = str(signature.replace(parameters=[])).removeprefix("()")
    return f"{name}(\n{arguments}){_plain(result)}"


def _plain(text: str) -> str:
    """Annotations without their quotes; what a default is where it has no text of its own."""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)
    return re.sub(r"<(?:function|factory)[^=,)]*>", "…", text)


def _fields(value: type[Any]) -> Iterator[str]:
    """The fields of a dataclass that say what they mean."""
    if dataclasses.is_dataclass(value):
        for name, meaning in settings.texts_below(value).items():
            yield f"- `{name}`: {meaning}"
