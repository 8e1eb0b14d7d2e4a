"""Writes the formulas of values and deltas as text, with the names of the nodes in them.

The formula of an operation, `δ · (1 - y²)`, becomes that of a node,
`δ[hidden.z] · (1 - hidden.z²)`. The formula of a delta is the sum over its tails:

    δ[hidden.z] = δ[output.1.product] · output.1.w + δ[output.2.product] · output.2.w

Names in the scope of the node of the formula are written without that scope, unless that would be
the name of another node. The text is for display only: it is never parsed, and the names in it are
escaped and shortened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from graphgrad.graph import LEAVES, Graph, Node, Operation, constant, parameter
from graphgrad.graph.deltas import Change
from graphgrad.ops.arithmetic import multiply
from graphgrad.ops.contraction import matmul
from graphgrad.text import printable

_SUBSCRIPTS = "₁₂₃₄₅₆₇₈₉"
_RULE = re.compile(r"δ([₁-₉ᵢ]) = (.*?)(?=[,;] δ[₁-₉ᵢ] = |$)")
_SYMBOL = re.compile(
    r"x₁, x₂, …|δ|x[₁-₉ᵢ]|(?<![A-Za-z])x(?![A-Za-z])|(?<![A-Za-z])\d?y(?![A-Za-z])|ˣ|ʸ"
)
SCALE = "1/√D_k"
_LONGEST = 60  # characters of one name in a formula
_MOST = 6  # heads of one concatenation
_NUMBERED = ("clip", "scale")  # cuts whose number is a constant head of the new delta
Called = Callable[[Node], str]


def short_name(graph: Graph, node: Node, scope: str | None = "") -> str:
    """The text for the node in a formula of this scope: its name, or a scalar constant's value.

    With the scope None, for pictures that show scopes by other means, it is the last part of the
    name.
    """
    if node.operation is constant and node.attributes["value"].array.size == 1:
        return f"{node.attributes['value'].array.reshape(()).item():.6g}"
    name = symbol_of(graph, node)
    if scope is None:
        return printable(name.rpartition(".")[2] or name, _LONGEST)
    inner = name.removeprefix(f"{scope}.") if scope else name
    return printable(name if inner in graph.names else inner, _LONGEST)


def symbol_of(graph: Graph, node: Node) -> str:
    """The name of the node in formulas and pictures.

    A parameter that has an alias is stored as `query.w` and called by the alias, `query.W_Q`.
    """
    if node.operation is parameter:
        return graph.names_of(node)[-1]
    return graph.name_of(node)


def is_unnamed(graph: Graph, node: Node) -> bool:
    """Whether the node has the default name, that of its operation, in this graph."""
    last = graph.name_of(node).rpartition(".")[2]
    return re.fullmatch(rf"{re.escape(node.operation.name)}(_\d+)?", last) is not None


def scope_of(name: str) -> str:
    """`encoder.0` of `encoder.0.scores`."""
    return name.rpartition(".")[0]


def value_formula(graph: Graph, node: Node, called: Called | None = None) -> str:
    """`tanh hidden.a`, with the names from `called`, if given; empty for a leaf."""
    if node.operation in LEAVES:
        return ""
    scope = scope_of(graph.name_of(node))
    return _named(graph, node, 0, formula_of(node), scope, called=called)


def delta_rule(operation: Operation, position: int) -> str:
    """The formula of the operation's contribution to its head number `position`: `δ x₂ᵀ`."""
    rules = {match[1]: match[2] for match in _RULE.finditer(operation.delta_formula)}
    mark = _SUBSCRIPTS[position] if position < len(_SUBSCRIPTS) else "ᵢ"
    return rules.get(mark) or rules.get("ᵢ") or operation.delta_formula


def formula_of(node: Node) -> str:
    """The formula of the node's operation; of a product, with the transposes of its sides.

    The factor of attention is written 1/√D_k, as it is declared, instead of its value.
    """
    scaled = scaled_head(node)
    if scaled is not None:
        return f"x{_SUBSCRIPTS[scaled]} · {SCALE}"
    if node.operation is not matmul:
        return node.operation.formula
    left, right = _transposed(node)
    return f"x₁{'ᵀ' if left else ''} x₂{'ᵀ' if right else ''}"


def rule_of(node: Node, position: int) -> str:
    """The formula of this node's contribution to its head number `position`.

    A product with transposed sides has its own formulas.
    """
    if scaled_head(node) == position:
        return f"δ · {SCALE}"
    if node.operation is not matmul or not any(_transposed(node)):
        return delta_rule(node.operation, position)
    left, right = _transposed(node)
    if position == 0:
        return f"x₂{'ᵀ' if right else ''} δᵀ" if left else f"δ x₂{'' if right else 'ᵀ'}"
    return f"δᵀ x₁{'ᵀ' if left else ''}" if right else f"x₁{'' if left else 'ᵀ'} δ"


def scaled_head(node: Node) -> int | None:
    """The position of Q Kᵀ in Q Kᵀ · 1/√D_k; None for every other node.

    The factor is recognised by its value: D_k is the size that the product sums over.
    """
    if node.operation is not multiply:
        return None
    for position, (product, factor) in enumerate(zip(node.heads, node.heads[::-1], strict=True)):
        if product.operation is matmul and factor.operation is constant and factor.shape == ():
            width = product.heads[0].shape[-1]
            value = factor.attributes["value"].array
            if (
                _transposed(product) == (False, True)
                and isinstance(width, int)
                and width > 1
                and value == value.dtype.type(1 / math.sqrt(width))
            ):
                return position
    return None


def _transposed(product: Node) -> tuple[bool, bool]:
    return product.attributes["transpose_a"], product.attributes["transpose_b"]


def contribution_formula(graph: Graph, tail: Node, position: int) -> str:
    """`δ[hidden.z] · (1 - hidden.z²)`: the contribution of a tail to its head number `position`."""
    scope = scope_of(graph.name_of(tail.heads[position]))
    return _named(graph, tail, position, rule_of(tail, position), scope)


def rule_in(graph: Graph, tail: Node, position: int, scope: str, sender: Node) -> str:
    """The formula of a contribution in this scope, with δ of `sender` instead of δ of the tail.

    If an addition passes δ on unchanged, the two are one node.
    """
    text = rule_of(tail, position)
    own = short_name(graph, sender, scope)
    return _named(graph, tail, position, text, scope, own, tail.heads[position])


def value_in(graph: Graph, node: Node, scope: str, head: Node | None = None) -> str:
    """The formula of the value in a text about the node `head`; empty for a leaf."""
    if node.operation in LEAVES:
        return ""
    return _named(graph, node, 0, formula_of(node), scope, keep=head)


def factor_text(graph: Graph, tail: Node, position: int, called: Called | None = None) -> str:
    """The short formula of a contribution, for an edge from δ of the tail: `δ · (1 - z²)`.

    Nodes have the last part of their name, or the name from `called` unless they are scalars.
    """
    return _named(graph, tail, position, rule_of(tail, position), None, called=called)


def numbered(terms: Iterable[tuple[str, int, Node]]) -> list[str]:
    """The texts of contributions, given as (text, position, value).

    Equal texts of different values, as for concatenate([x, x]), get the number of the head.
    """
    terms = list(terms)
    values: dict[str, set[Node]] = {}
    for text, _, value in terms:
        values.setdefault(text, set()).add(value)
    return [
        f"{text} (as head {position + 1})" if len(values[text]) > 1 else text
        for text, position, _ in terms
    ]


def delta_terms(graph: Graph, node: Node) -> tuple[str, ...]:
    """The formulas of the contributions of all tails; none if the node has no delta."""
    sent = graph.sent_back(node)
    if sent:
        terms = numbered(
            (
                operated(
                    contribution_formula(graph, item.tail, item.position),
                    cuts_of(graph, item.changes),
                ),
                item.position,
                item.value,
            )
            for item in sent
        )
        cuts = cuts_of(graph, graph.cuts(node))
        return (operated(" + ".join(terms), cuts),) if cuts else tuple(terms)
    delta = graph.delta_or_none(node)
    if delta is None:
        return ()
    return (short_name(graph, delta) if delta.operation is constant else "0",)


def cuts_of(graph: Graph, changes: Iterable[Change[Node]]) -> tuple[str, ...]:
    """The changes by cuts as text, in the order in which they were made: `clip 1`."""
    found = []
    for change in changes:
        numbers = [
            short_name(graph, head)
            for head in change.after.heads
            if head.operation is constant and change.kind in _NUMBERED
        ]
        found.append(" ".join([change.kind, *numbers[:1]]))
    return tuple(found)


def operated(text: str, cuts: tuple[str, ...]) -> str:
    """A formula inside the cuts that change its value: `clip 1 (…)`."""
    for cut in cuts:
        text = f"{cut} ({text})"
    return text


def delta_formula(graph: Graph, node: Node) -> str:
    """The formula of the node's delta, a sum over its tails; empty if it has none."""
    return " + ".join(delta_terms(graph, node))


def _named(
    graph: Graph,
    node: Node,
    position: int,
    formula: str,
    scope: str | None,
    sender: str = "",
    keep: Node | None = None,
    called: Called | None = None,
) -> str:
    """The formula with δ, y and x replaced by the names of this node and its heads.

    With the scope None it is for an edge from the delta of the node, and δ is not replaced.
    `sender` is the name of the node of δ, if it is not this node. In a text about the head `keep`,
    an unnamed view among the other heads has the name of the node that it views.
    """
    own = called(node) if called is not None else short_name(graph, node, scope)

    def head(number: int) -> str:  # only those that the formula names: a sum may have thousands
        found = node.heads[number]
        while (
            keep is not None
            and found is not keep
            and found.operation.view is not None
            and found.heads
            and is_unnamed(graph, found)
        ):
            found = found.heads[0]
        if called is not None and found.operation is not constant:
            return called(found)
        return short_name(graph, found, scope)

    def name(match: re.Match[str]) -> str:
        symbol = match.group()
        if symbol == "δ":
            return "δ" if scope is None else f"δ[{sender or own}]"
        if symbol in ("y", "ʸ"):
            text = own
        elif symbol[-1] == "y":
            return f"({symbol[:-1]}·{own})"
        elif symbol == "x₁, x₂, …":
            more = ", …" if len(node.heads) > _MOST else ""
            return ", ".join(map(head, range(min(len(node.heads), _MOST)))) + more
        else:
            number = _SUBSCRIPTS.find(symbol[1:]) if symbol[1:] else -1
            text = head(number if number >= 0 else position) if node.heads else symbol
        return f"^{text}" if symbol in "ˣʸ" else text

    return _SYMBOL.sub(name, formula)
