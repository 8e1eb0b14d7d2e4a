"""Generates the page of all passes from their docstrings and rule tables."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

from graphgrad.graph import constant
from graphgrad.guide.markdown import code, docstring_text
from graphgrad.passes import FUSING_PASSES, PASSES, PRECISION_PASSES, SPECIALISED_PASSES, Pass
from graphgrad.passes.pattern import Pattern
from graphgrad.passes.rewrite import Rule

_INTRODUCTION = """# Passes

A pass is a function from a graph to a graph. It keeps the outputs, the updates, the names and the
values, and the graph is verified after each one. A rule is a pattern, a result and a name; the
patterns of the rules are listed below each pass. A letter in a pattern matches any node (the same
letter twice: the same node twice), c a constant.

`gg.compile(graph, without="simplify")` leaves one out, `debug=` compares all values before and
after each, and `print(compiled.reports[0])` shows what the first one changed. How to write one:
`graphgrad guide pass`.
"""
_STAGES: Sequence[tuple[str, str, tuple[Pass, ...]]] = (
    ("Once for all sizes", "Before any size is known, in this order:", PASSES),
    ("Once the sizes are known", "Again, for each set of concrete sizes:", SPECIALISED_PASSES),
    (
        "Where another precision than fp32 is asked for",
        "One of these and `fold_constants`, for mixed precision (`graphgrad guide precision`):",
        tuple(passes[0] for passes in PRECISION_PASSES.values() if passes),
    ),
    ("Where the backend fuses", "Last, if the program is to have kernels:", FUSING_PASSES),
)


def passes_page() -> str:
    """The page as Markdown."""
    lines = [_INTRODUCTION, "## The order\n"]
    for _, when, passes in _STAGES:
        listed = "\n".join(f"{number}. `{each.__name__}`" for number, each in enumerate(passes, 1))
        lines += [when, "", listed, ""]
    every = dict.fromkeys(each for _, _, passes in _STAGES for each in passes)
    told: set[str] = set()
    for each in every:
        lines += _block(each, each.__module__ not in told)
        told.add(each.__module__)
    return "\n".join(lines)


def rules_of(each: Pass) -> dict[str, tuple[Rule, ...]]:
    """The rule tables of the module of a pass, by their names."""
    module: ModuleType = sys.modules[each.__module__]
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, tuple) and value and all(isinstance(item, Rule) for item in value)
    }


def _block(each: Pass, with_module: bool) -> Iterator[str]:
    yield f"## {each.__name__}\n"
    if with_module:
        module = sys.modules[each.__module__]
        yield docstring_text(inspect.getdoc(module) or "") + "\n"
    yield docstring_text(inspect.getdoc(each) or "") + "\n"
    for rules in rules_of(each).values():
        yield "| rule | pattern |"
        yield "| --- | --- |"
        for rule in rules:
            yield f"| {_cell(rule.name)} | {_cell(code(pattern_text(rule.pattern)))} |"
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def pattern_text(pattern: Pattern) -> str:
    """A pattern as a formula: `log(softmax(x))`."""
    if pattern.operation is None:
        return pattern.bind or "·"
    if pattern.operation is constant:
        return pattern.bind or "c"
    if not pattern.heads:
        return pattern.bind or f"{pattern.operation.name}(…)"
    return f"{pattern.operation.name}({', '.join(map(pattern_text, pattern.heads))})"
