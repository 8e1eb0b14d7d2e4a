"""The page of all passes, made of their docstrings and rule tables."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

from graphgrad.graph import constant
from graphgrad.guide.markdown import code, docstring_text
from graphgrad.passes import FUSING_PASSES, PASSES, SPECIALISED_PASSES, Pass
from graphgrad.passes.pattern import Pattern
from graphgrad.passes.rewrite import Rule

_INTRODUCTION = """# Passes

A pass takes a graph and gives a graph. It keeps the outputs, the updates, the names and the values,
and the graph is verified after each one. A rule is a pattern, a result and a name; below each pass
stand the patterns of its rules. A letter in a pattern is any node (the same letter twice: the same
node twice), c is a constant.

`gg.compile(graph, without="simplify")` leaves one out, `debug=` compares all values before and
after each, and `print(compiled.reports[0])` says what the first one did. How to write one:
`graphgrad guide pass`.
"""
_STAGES: Sequence[tuple[str, str, tuple[Pass, ...]]] = (
    ("Once for all sizes", "Before any size is known, in this order:", PASSES),
    ("Once the sizes are known", "Again, for each set of concrete sizes:", SPECIALISED_PASSES),
    ("Where the engine fuses", "Last, where kernels are made:", FUSING_PASSES),
)


def passes_page() -> str:
    """The page as Markdown."""
    lines = [_INTRODUCTION, "## The order\n"]
    for _, when, passes in _STAGES:
        listed = "\n".join(f"{place}. `{each.__name__}`" for place, each in enumerate(passes, 1))
        lines += [when, "", listed, ""]
    every = dict.fromkeys(each for _, _, passes in _STAGES for each in passes)
    for each in every:
        lines += _block(each)
    return "\n".join(lines)


def rules_of(each: Pass) -> dict[str, tuple[Rule, ...]]:
    """The rule tables of the module that a pass is in, by the names that they have there."""
    module: ModuleType = sys.modules[each.__module__]
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, tuple) and value and all(isinstance(item, Rule) for item in value)
    }


def _block(each: Pass) -> Iterator[str]:
    yield f"## {each.__name__}\n"
    module = sys.modules[each.__module__]
    yield docstring_text(inspect.getdoc(module) or "") + "\n"
    yield docstring_text(inspect.getdoc(each) or "") + "\n"
    for rules in rules_of(each).values():
        yield "| rule | looks for |"
        yield "| --- | --- |"
        for rule in rules:
            yield f"| {_cell(rule.name)} | {_cell(code(pattern_text(rule.pattern)))} |"
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def pattern_text(pattern: Pattern) -> str:
    """A pattern as it would be written: `log(softmax(x))`."""
    if pattern.operation is None:
        return pattern.bind or "·"
    if pattern.operation is constant:
        return pattern.bind or "c"
    if not pattern.heads:
        return pattern.bind or f"{pattern.operation.name}(…)"
    return f"{pattern.operation.name}({', '.join(map(pattern_text, pattern.heads))})"
