"""The page of all operations, made of their blocks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from graphgrad.graph import Node, Operation, input
from graphgrad.guide.markdown import code, first_paragraph
from graphgrad.ops import ALL_OPERATIONS, FAMILIES

_INTRODUCTION = """# Operations

Every operation that a node can have, from the blocks in `graphgrad/ops` as they stand. In a
formula x (or x₁, x₂, …) are the heads, y is the result and δ the delta of y. The line after the
arrow is the delta rule: what y sends back to each head. A dash stands for a head that gets
nothing, integers say. Contributions are summed over axes along which a head was broadcast.

An operation is called by its name, as `gg.softmax(x, axis=-1)`; `graphgrad guide api` has
its arguments.
"""


def operations_page() -> str:
    """The page as Markdown."""
    lines = [_INTRODUCTION]
    shown: set[Operation] = set()
    for family in FAMILIES:
        lines += [f"## {_heading(family)}\n", first_paragraph(inspect.getdoc(family) or ""), ""]
        for operation in family.OPERATIONS:
            shown.add(operation)
            lines += _block(operation)
    leaves = [operation for operation in ALL_OPERATIONS if operation not in shown]
    lines += ["## Known values\n", "Nodes without heads whose values follow of the graph.", ""]
    for operation in leaves:
        lines += _block(operation)
    return "\n".join(lines)


def _heading(family: ModuleType) -> str:
    return family.__name__.rpartition(".")[2].capitalize()


def _block(operation: Operation) -> Iterator[str]:
    yield f"### {operation.name}\n"
    yield "```math"
    yield f"y = {operation.formula}"
    if operation.delta_formula:
        yield f"→ {operation.delta_formula}"
    yield "```\n"
    facts = list(_facts(operation))
    if facts:
        yield "- " + "\n- ".join(facts) + "\n"


def _facts(operation: Operation) -> Iterator[str]:
    example = next(filter(None, map(_example, _sampled(operation))), "")
    if example:
        yield f"for example {code(example)}"
    if not operation.delta:
        yield "no delta goes through it"
    if operation.commutative:
        yield "commutative"
    if operation.ufunc:
        yield f"computed by {code(f'numpy.{operation.ufunc}')}"
    if operation.kernel:
        yield f"in a kernel {code(operation.kernel)}"
    if operation.view:
        yield "a view of its head's memory where that is possible"


def _sampled(operation: Operation) -> Iterator[Node]:
    """The operation on inputs like its samples, one after the other."""
    generator = np.random.default_rng(0)
    for sample in operation.samples:
        arrays = [head.array(generator, np.float32) for head in sample.heads]
        heads = [input(f"x{place}", a.shape, a.dtype) for place, a in enumerate(arrays, 1)]
        yield operation.node(*heads, **sample.attributes)


def _example(node: Node) -> str:
    """The types of heads and result; empty where they say nothing."""
    if not node.heads or not any(head.rank for head in node.heads):
        return ""
    return f"{', '.join(str(head.type) for head in node.heads)} → {node.type}"
