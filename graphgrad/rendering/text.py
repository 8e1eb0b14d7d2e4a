"""Writes a graph as a tree of its scopes, for a terminal.

    hidden
    ├─ w        parameter : float32[3, 3]
    ├─ a        x w : float32[batch, 3]
    │           δ = δ[z] · (1 - z²)
    └─ z        tanh a : float32[batch, 3]

Nodes are in the order of their declaration, a scope at the position of its first node; constant
numbers are written in the formulas that use them. The same graph gives the same text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphgrad.backprop.formula import delta_terms, symbol_of, value_formula
from graphgrad.backprop.selection import parts_of
from graphgrad.graph import LEAVES, Graph, Node, constant
from graphgrad.graph.text import attributes_text
from graphgrad.rendering.describe import sent_text
from graphgrad.rendering.view import Path, View, path_of
from graphgrad.text import printable

_WIDEST = 28  # the width of the column of names; a longer name only moves its own line


@dataclass
class _Scope:
    """A scope: its nodes and inner scopes in the order of their first appearance."""

    items: list[Node | Path] = field(default_factory=list)
    scopes: dict[Path, _Scope] = field(default_factory=dict)


def tree_text(graph: Graph, view: View | None = None, caption: Sequence[str] = ()) -> str:
    """The caption, the forward nodes by scope with the formulas of their deltas, and the
    outputs."""
    view = view or View()
    parts = parts_of(graph)
    shown = [
        node
        for node in graph.nodes
        if (parts[node] == "forward" or (view.updates and parts[node] == "update"))
        and (view.constants or node.operation is not constant or node.shape)
    ]
    root = _Scope()
    for node in shown:
        _add(root, path_of(graph.name_of(node)), node)
    counts = Counter("constant" if node.operation is constant else parts[node] for node in graph)
    lines = [*map(printable, caption), _summary(graph, counts), ""]
    lines += _lines(graph, root, (), "", view.deltas != "none")
    lines.append("")
    for name, node in graph.outputs.items():
        lines.append(f"output {printable(name)} = {printable(graph.name_of(node))}")
    return "\n".join(lines) + "\n"


def _summary(graph: Graph, counts: Mapping[str, int]) -> str:
    """The number of nodes of each part, of constants and of parameters."""
    sizes = [node.type.size for node in graph.parameters.values()]
    numbers = sum(size for size in sizes if isinstance(size, int))
    plural = "" if len(sizes) == 1 else "s"
    text = f"{counts['forward']:,} forward nodes"
    text += f", {counts['delta']:,} for deltas" if counts["delta"] else ""
    text += f", {counts['update']:,} for updates" if counts["update"] else ""
    constants = "constant" if counts["constant"] == 1 else "constants"
    text += f", {counts['constant']:,} {constants}" if counts["constant"] else ""
    return f"{text}; {len(sizes)} parameter{plural} of {numbers:,} numbers"


def _add(root: _Scope, path: Path, node: Node) -> None:
    """Adds a node to the scope of a path, which is created if needed."""
    scope = root
    for size in range(1, len(path) + 1):
        inner = path[:size]
        if inner not in scope.scopes:
            scope.scopes[inner] = _Scope()
            scope.items.append(inner)
        scope = scope.scopes[inner]
    scope.items.append(node)


def _lines(graph: Graph, scope: _Scope, path: Path, indent: str, deltas: bool) -> Iterator[str]:
    """The lines of a scope; those of the outermost scope have no branches."""
    local = {item: _local(graph, item, path) for item in scope.items if isinstance(item, Node)}
    width = min(max(map(len, local.values()), default=0), _WIDEST)
    for number, item in enumerate(scope.items):
        last = number == len(scope.items) - 1
        branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if not path:
            branch = below = ""
        if isinstance(item, tuple):
            title, item, inner = _joined(scope, item)
            yield f"{indent}{branch}{title}"
            yield from _lines(graph, inner, item, indent + below, deltas)
            continue
        yield f"{indent}{branch}{local[item]:<{width}}  {_formula(graph, item)}"
        for index, term in enumerate(delta_terms(graph, item) if deltas else ()):
            yield f"{indent}{below}{'':<{width}}  {'  +' if index else 'δ ='} {term}"


def _joined(scope: _Scope, path: Path) -> tuple[str, Path, _Scope]:
    """The title of a scope; a scope with nothing but one inner scope shares its line with it."""
    inner, title = scope.scopes[path], printable(path[-1])
    while len(inner.items) == 1 and isinstance(inner.items[0], tuple):
        path = inner.items[0]
        inner, title = inner.scopes[path], f"{title}.{printable(path[-1])}"
    return title, path, inner


def _local(graph: Graph, node: Node, path: Path) -> str:
    name = graph.name_of(node)
    return printable(name[len(".".join(path)) + 1 :] if path else name)


def _formula(graph: Graph, node: Node) -> str:
    """The formula and the type of a node: `x w : float32[batch, 3]`."""
    if node.operation is constant:
        return f"constant {attributes_text(node)} : {node.type}"
    if node.operation in LEAVES:
        name, symbol = graph.name_of(node), symbol_of(graph, node)
        called = "" if symbol == name else f" {printable(symbol.rpartition('.')[2])}"
        return f"{node.operation.name}{called} : {node.type}"
    sent = sent_text(node)
    over_ranks = f", {sent} over the ranks" if sent else ""
    return f"{value_formula(graph, node)} : {node.type}{over_ranks}"
