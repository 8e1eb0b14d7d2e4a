"""Generates the page of all public names from signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import graphgrad
from graphgrad import data, layers, training
from graphgrad.graph import Operation
from graphgrad.graph.help_text import example_text, operation_example
from graphgrad.graph.node import TypedOperation
from graphgrad.guide.markdown import code, docstring_text
from graphgrad.passes import surgery as cuts
from graphgrad.training import settings

_WIDTH = 88
_INTRODUCTION = """# API

Every public name of `import graphgrad as gg`, then those of `gg.layers`, `gg.data` and
`gg.training`, and the cuts of deltas, each with its signature and its docstring. In Python:
`help(gg.name)`.
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
    "Data": data,
    "Training": training,
    "Cuts": cuts,
}
_WANTED: Mapping[str, tuple[str, ...]] = {
    "Cuts": ("clip", "clip_norm", "scale", "stop", "replace"),
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
        own = [name for name in module.__all__ if name not in graphgrad.__all__]
        names = _WANTED.get(heading) or sorted(own, key=str.lower)
        lines += [f"## {heading}\n", f"From `{module.__name__}`.", ""]
        for name in names:
            lines += _block(name, getattr(module, name))
    return "\n".join(lines)


def _layer(value: Any) -> str:
    """The folder of the package in which a public value is defined."""
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
    if isinstance(value, Mapping):
        yield f"A dictionary with the keys {', '.join(code(key) for key in value)}.\n"
    fields = list(_fields(value)) if isinstance(value, type) else []
    if fields:
        yield "\n".join(fields) + "\n"


def _documented(value: Any) -> str:
    """The docstring of the value; of an operation without its formulas, which are shown already.

    Data have none of their own.
    """
    if isinstance(value, TypedOperation):
        example = example_text(*value.example) if value.example else ""
        return f"{inspect.getdoc(value.declare)}\n\n{inspect.cleandoc(example)}".rstrip()
    if isinstance(value, Operation):
        return inspect.cleandoc(operation_example(value))
    documented = isinstance(value, ModuleType) or callable(value)
    return (inspect.getdoc(value) or "") if documented else ""


def _signature(name: str, value: Any) -> str:
    """The signature of the value; one line for each argument if they do not fit into one line."""
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
    """Removes the quotes of annotations, and the addresses of functions that are defaults."""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)
    return re.sub(r"<(?:function|factory)[^=,)]*>", "…", text)


def _fields(value: type[Any]) -> Iterator[str]:
    """The fields of a dataclass that have an explanation below them."""
    if dataclasses.is_dataclass(value):
        for name, meaning in settings.texts_below(value).items():
            yield f"- `{name}`: {meaning}"
