"""Formulas of values and deltas as readable text, with the names of the nodes in them.

An operation says `δ · (1 - y²)`; of a node it becomes `δ[hidden.z] · (1 - hidden.z²)`, and a delta
the sum over its tails:

    δ[hidden.z] = δ[output.1.product] · output.1.w + δ[output.2.product] · output.2.w

A name in the scope of the node that the formula is about stands without that scope, unless it would
then be another node's name. The text is made for people: it is never parsed again, and names in it
are escaped and cut.
"""

from __future__ import annotations

import re

from graphgrad.graph import CONSTANT, LEAVES, Graph, Node, Operation
from graphgrad.graph.text import plain
from graphgrad.inspection.selection import contributions_of, delta_of

_SUBSCRIPTS = "₁₂₃₄₅₆₇₈₉"
_RULE = re.compile(r"δ([₁-₉ᵢ]) = (.*?)(?=[,;] δ[₁-₉ᵢ] = |$)")
_SYMBOL = re.compile(
    r"x₁, x₂, …|δ|x[₁-₉ᵢ]|(?<![A-Za-z])x(?![A-Za-z])|(?<![A-Za-z])\d?y(?![A-Za-z])|ˣ|ʸ"
)
_LONGEST = 60  # characters of one name in a formula
_MOST = 6  # heads of one concatenation


def short_name(graph: Graph, node: Node, scope: str | None = "") -> str:
    """How a formula in this scope calls the node: by name, or a constant number by its value.

    None is for pictures, which show the scope otherwise: there only the last part of a name stands.
    """
    if node.operation is CONSTANT and node.attributes["value"].array.size == 1:
        return f"{node.attributes['value'].array.reshape(()).item():.6g}"
    name = graph.name_of(node)
    if scope is None:
        return plain(name.rpartition(".")[2] or name, _LONGEST)
    inner = name.removeprefix(f"{scope}.") if scope else name
    return plain(name if inner in graph.names else inner, _LONGEST)


def scope_of(name: str) -> str:
    """`encoder.0` of `encoder.0.scores`."""
    return name.rpartition(".")[0]


def value_formula(graph: Graph, node: Node) -> str:
    """`tanh hidden.a`; empty for a leaf."""
    if node.operation in LEAVES:
        return ""
    return _named(graph, node, 0, node.operation.formula, scope_of(graph.name_of(node)))


def delta_rule(operation: Operation, place: int) -> str:
    """What the operation sends back to its head number `place`, as it says itself: `δ x₂ᵀ`."""
    rules = {match[1]: match[2] for match in _RULE.finditer(operation.delta_formula)}
    mark = _SUBSCRIPTS[place] if place < len(_SUBSCRIPTS) else "ᵢ"
    return rules.get(mark) or rules.get("ᵢ") or operation.delta_formula


def contribution_formula(graph: Graph, tail: Node, place: int) -> str:
    """`δ[hidden.z] · (1 - hidden.z²)`: what the tail sends back to its head number `place`."""
    scope = scope_of(graph.name_of(tail.heads[place]))
    return _named(graph, tail, place, delta_rule(tail.operation, place), scope)


def rule_in(graph: Graph, tail: Node, place: int, scope: str, sender: Node) -> str:
    """The contribution as a text in this scope calls it, with δ of `sender` in the place of δ of
    the tail: where an addition passes δ on unchanged, the two are one node."""
    text = delta_rule(tail.operation, place)
    return _named(graph, tail, place, text, scope, short_name(graph, sender, scope))


def value_in(graph: Graph, node: Node, scope: str) -> str:
    """The formula of the value as a text in this scope writes it; empty for a leaf."""
    if node.operation in LEAVES:
        return ""
    return _named(graph, node, 0, node.operation.formula, scope)


def factor_text(graph: Graph, tail: Node, place: int) -> str:
    """The same in short, for an edge from δ of the tail: `δ · (1 - z²)`, last parts of names."""
    return _named(graph, tail, place, delta_rule(tail.operation, place), None)


def delta_terms(graph: Graph, node: Node) -> tuple[str, ...]:
    """What each tail sends back, as formulas; nothing where the node has no delta."""
    sent = contributions_of(graph, node)
    if sent:
        return tuple(contribution_formula(graph, item.tail, item.place) for item in sent)
    delta = delta_of(graph, node)
    if delta is None:
        return ()
    return (short_name(graph, delta) if delta.operation is CONSTANT else "0",)


def delta_formula(graph: Graph, node: Node) -> str:
    """The sum of what the tails send back; empty where the node has no delta."""
    return " + ".join(delta_terms(graph, node))


def _named(
    graph: Graph, node: Node, place: int, formula: str, scope: str | None, sender: str = ""
) -> str:
    """The formula with δ, y and x replaced by the names of this node and its heads.

    With the scope None it is for an edge from the delta of the node, and δ stands alone. `sender`
    is what δ is the delta of, where that is not the node itself.
    """
    *heads, own = (short_name(graph, item, scope) for item in (*node.heads, node))

    def name(match: re.Match[str]) -> str:
        symbol = match.group()
        if symbol == "δ":
            return "δ" if scope is None else f"δ[{sender or own}]"
        if symbol in ("y", "ʸ"):
            text = own
        elif symbol[-1] == "y":
            return f"({symbol[:-1]}·{own})"
        elif symbol == "x₁, x₂, …":
            return ", ".join(heads[:_MOST]) + (", …" if len(heads) > _MOST else "")
        else:
            number = _SUBSCRIPTS.find(symbol[1:]) if symbol[1:] else -1
            text = heads[number if number >= 0 else place] if heads else symbol
        return f"^{text}" if symbol in "ˣʸ" else text

    return _SYMBOL.sub(name, formula)
