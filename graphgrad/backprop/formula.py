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
from collections.abc import Callable, Iterable

from graphgrad.graph import LEAVES, Graph, Node, Operation, constant
from graphgrad.graph.deltas import Change
from graphgrad.ops.contraction import matmul
from graphgrad.text import printable

_SUBSCRIPTS = "₁₂₃₄₅₆₇₈₉"
_RULE = re.compile(r"δ([₁-₉ᵢ]) = (.*?)(?=[,;] δ[₁-₉ᵢ] = |$)")
_SYMBOL = re.compile(
    r"x₁, x₂, …|δ|x[₁-₉ᵢ]|(?<![A-Za-z])x(?![A-Za-z])|(?<![A-Za-z])\d?y(?![A-Za-z])|ˣ|ʸ"
)
_LONGEST = 60  # characters of one name in a formula
_MOST = 6  # heads of one concatenation
_NUMBERED = ("clip", "scale")  # surgery that stands as a constant beside the delta
Called = Callable[[Node], str]


def short_name(graph: Graph, node: Node, scope: str | None = "") -> str:
    """How a formula in this scope calls the node: by name, or a constant number by its value.

    None is for pictures, which show the scope otherwise: there only the last part of a name stands.
    """
    if node.operation is constant and node.attributes["value"].array.size == 1:
        return f"{node.attributes['value'].array.reshape(()).item():.6g}"
    name = graph.name_of(node)
    if scope is None:
        return printable(name.rpartition(".")[2] or name, _LONGEST)
    inner = name.removeprefix(f"{scope}.") if scope else name
    return printable(name if inner in graph.names else inner, _LONGEST)


def is_unnamed(graph: Graph, node: Node) -> bool:
    """Whether nobody chose the node's name in this graph: it is called by its operation."""
    last = graph.name_of(node).rpartition(".")[2]
    return re.fullmatch(rf"{re.escape(node.operation.name)}(_\d+)?", last) is not None


def scope_of(name: str) -> str:
    """`encoder.0` of `encoder.0.scores`."""
    return name.rpartition(".")[0]


def value_formula(graph: Graph, node: Node, called: Called | None = None) -> str:
    """`tanh hidden.a`, with the names that `called` gives to nodes; empty for a leaf."""
    if node.operation in LEAVES:
        return ""
    scope = scope_of(graph.name_of(node))
    return _named(graph, node, 0, formula_of(node), scope, called=called)


def delta_rule(operation: Operation, place: int) -> str:
    """What the operation sends back to its head number `place`, as it says itself: `δ x₂ᵀ`."""
    rules = {match[1]: match[2] for match in _RULE.finditer(operation.delta_formula)}
    mark = _SUBSCRIPTS[place] if place < len(_SUBSCRIPTS) else "ᵢ"
    return rules.get(mark) or rules.get("ᵢ") or operation.delta_formula


def formula_of(node: Node) -> str:
    """What the operation of this node computes: of a product, which sides are transposed."""
    if node.operation is not matmul:
        return node.operation.formula
    left, right = _transposed(node)
    return f"x₁{'ᵀ' if left else ''} x₂{'ᵀ' if right else ''}"


def rule_of(node: Node, place: int) -> str:
    """What this node sends back to its head number `place`; y = A B gives δ Bᵀ and Aᵀ δ, whatever
    of A and B was transposed before."""
    if node.operation is not matmul or not any(_transposed(node)):
        return delta_rule(node.operation, place)
    left, right = _transposed(node)
    if place == 0:
        return f"x₂{'ᵀ' if right else ''} δᵀ" if left else f"δ x₂{'' if right else 'ᵀ'}"
    return f"δᵀ x₁{'ᵀ' if left else ''}" if right else f"x₁{'' if left else 'ᵀ'} δ"


def _transposed(product: Node) -> tuple[bool, bool]:
    return product.attributes["transpose_a"], product.attributes["transpose_b"]


def contribution_formula(graph: Graph, tail: Node, place: int) -> str:
    """`δ[hidden.z] · (1 - hidden.z²)`: what the tail sends back to its head number `place`."""
    scope = scope_of(graph.name_of(tail.heads[place]))
    return _named(graph, tail, place, rule_of(tail, place), scope)


def rule_in(graph: Graph, tail: Node, place: int, scope: str, sender: Node) -> str:
    """The contribution as a text in this scope calls it, with δ of `sender` in the place of δ of
    the tail: where an addition passes δ on unchanged, the two are one node."""
    text = rule_of(tail, place)
    own = short_name(graph, sender, scope)
    return _named(graph, tail, place, text, scope, own, tail.heads[place])


def value_in(graph: Graph, node: Node, scope: str, head: Node | None = None) -> str:
    """The formula of the value as a text about this head writes it; empty for a leaf."""
    if node.operation in LEAVES:
        return ""
    return _named(graph, node, 0, formula_of(node), scope, keep=head)


def factor_text(graph: Graph, tail: Node, place: int, called: Called | None = None) -> str:
    """The same in short, for an edge from δ of the tail: `δ · (1 - z²)`, last parts of names, or
    what `called` says of a node that is no constant number."""
    return _named(graph, tail, place, rule_of(tail, place), None, called=called)


def numbered(terms: Iterable[tuple[str, int, Node]]) -> list[str]:
    """Texts of contributions (with their places and values); those that read alike and are not the
    same value, as of concatenate([x, x]), say which head they are for."""
    terms = list(terms)
    values: dict[str, set[Node]] = {}
    for text, _, value in terms:
        values.setdefault(text, set()).add(value)
    return [
        f"{text} (as head {place + 1})" if len(values[text]) > 1 else text
        for text, place, _ in terms
    ]


def delta_terms(graph: Graph, node: Node) -> tuple[str, ...]:
    """What each tail sends back, as formulas; nothing where the node has no delta."""
    sent = graph.sent_back(node)
    if sent:
        terms = numbered(
            (
                operated(
                    contribution_formula(graph, item.tail, item.place), cuts_of(graph, item.changes)
                ),
                item.place,
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
    """What surgery did to a delta, or to what a tail sends back, first what was first: `clip 1`."""
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
    """A formula with what surgery does to its value around it: `clip 1 (…)`."""
    for cut in cuts:
        text = f"{cut} ({text})"
    return text


def delta_formula(graph: Graph, node: Node) -> str:
    """The sum of what the tails send back; empty where the node has no delta."""
    return " + ".join(delta_terms(graph, node))


def _named(
    graph: Graph,
    node: Node,
    place: int,
    formula: str,
    scope: str | None,
    sender: str = "",
    keep: Node | None = None,
    called: Called | None = None,
) -> str:
    """The formula with δ, y and x replaced by the names of this node and its heads.

    With the scope None it is for an edge from the delta of the node, and δ stands alone. `sender`
    is what δ is the delta of, where that is not the node itself. In a text about the head `keep`,
    another head that only lies elsewhere and has no name of its own is called by what it moves.
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
            text = head(number if number >= 0 else place) if node.heads else symbol
        return f"^{text}" if symbol in "ˣʸ" else text

    return _SYMBOL.sub(name, formula)
