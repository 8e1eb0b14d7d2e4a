"""The delta of one node, derived step by step, and every step compared with numbers.

    δ[u] = Σ over the tails t of u of what t sends back

Each step is checked on a real batch in float64. The left side is the value of the delta that the
graph derived. The right side is worked out anew, without the rule: every element of the head (or a
sample of them) is moved a little and the change of that one tail, weighted with its δ, is taken:

    ⟨δ_t, t(z_u + h e_i) - t(z_u - h e_i)⟩ / 2h

So a line that is wrong is seen to be wrong, and it is that line. The last line, all steps put
together, is a graph of its own, rewritten by the passes and evaluated; and the whole delta is
compared with finite differences of the loss, cut at the node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from graphgrad.backprop import derive
from graphgrad.backprop.formula import is_unnamed, scope_of, short_name, value_in
from graphgrad.checks.finite_differences import Verdict, check
from graphgrad.checks.perturbation import Perturbation
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.explain.closed_form import ClosedForm, closed_forms
from graphgrad.explain.derivation import STEPS, Move, Term, Walk, walk_back
from graphgrad.explain.expression import Writer
from graphgrad.explain.rule_explanations import reason
from graphgrad.graph import Graph, Node
from graphgrad.ops import add, multiply, subtract
from graphgrad.ops.custom import ReplacedDelta
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import sizes_of, specialise

Arrays = Mapping[str, np.ndarray]

SAMPLED = 32
"""Of how many elements a step is worked out anew, at most."""
TOLERANCE = 1e-6
"""The largest difference, relative to the largest element, of two sides that agree."""
_STEP = 6e-6
_ROUNDING = 64 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class LineAgreement:
    """Both sides of a line in numbers: their largest difference, the largest element, how many
    elements were compared, and whether that counts as equal."""

    difference: float
    largest: float
    elements: int
    agrees: bool


@dataclass(frozen=True, slots=True)
class Line:
    """What one tail sends back: `δ[total] / tokens`, by which rule, and the agreement."""

    tail: str
    use: str
    formulas: tuple[str, ...]
    rules: tuple[str, ...]
    reason: str
    passed: tuple[str, ...]
    """The nodes that hand the δ in the formula on unchanged."""
    sender: str
    origin: str
    agreement: LineAgreement | None
    """None where the rule is a user's own and need not be the derivative."""


@dataclass(frozen=True, slots=True)
class DerivationStep:
    """δ of one node: a line for each tail, and whether the sum of all is δ."""

    node: str
    full_name: str
    lines: tuple[Line, ...]
    total: LineAgreement
    likewise: tuple[str, ...]
    """Nodes for which the same holds with other numbers in the names."""
    likewise_agreement: LineAgreement | None


@dataclass(frozen=True, slots=True)
class Closing:
    """Some steps put together: the delta of the first of them as one expression."""

    node: str
    first: int
    last: int
    said: ClosedForm
    agreement: LineAgreement


@dataclass(frozen=True, slots=True)
class Explanation:
    """The derivation of one delta."""

    node: str
    of: str
    shape: tuple[int, ...]
    operation: str
    origin: str
    scope: str
    value: str
    """How the node itself is computed."""
    steps: tuple[DerivationStep, ...]
    given: tuple[str, ...]
    """Deltas at which the derivation stops before the loss."""
    complete: bool
    together: tuple[Closing, ...]
    verdict: Verdict

    @property
    def agrees(self) -> bool:
        """Whether every line agrees with the numbers."""
        found = [closing.agreement for closing in self.together]
        for step in self.steps:
            found += [step.total, *(line.agreement for line in step.lines if line.agreement)]
            found += [step.likewise_agreement] if step.likewise_agreement else []
        return all(item.agrees for item in found) and self.verdict.verdict != "wrong"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "verdict": self.verdict.to_dict(), "agrees": self.agrees}


def explain(
    graph: Graph,
    node: str | Node,
    feeds: Arrays,
    state: Arrays | None = None,
    of: str = "loss",
    steps: int = STEPS,
) -> Explanation:
    """The derivation of δ of a node of a forward graph, on these inputs and this state.

    `of` is the float64 scalar that everything is a derivative of. After `steps` steps the
    derivation stops at deltas that are taken as given. Raises UnknownNameError where there is no
    such node, or where `of` does not depend on it.
    """
    forward = specialise(graph, sizes_of(graph, feeds))
    name = forward.name_of(forward[node])
    target_name = forward.name_of(forward[of])
    derived = derive(forward, target_name, _leaves(forward, forward[name]))
    chosen, target = derived[name], derived[target_name]
    _need_delta(derived, chosen, target_name)
    values = evaluate(derived, feeds, state)
    scope = _shortest_scope(derived, walk_back(derived, chosen, target, "", steps), name)
    walk = walk_back(derived, chosen, target, scope, steps)
    together = closed_forms(derived, walk, scope, values)
    checker = _Values(derived, target, values)
    (verdict,) = check(forward, target_name, feeds, state, [name])
    with np.errstate(all="ignore"):
        derivation = tuple(_step(derived, move, scope, checker) for move in walk.moves)
        closings = tuple(
            Closing(
                short_name(derived, item.move.node, scope),
                item.first,
                item.first + item.form.steps - 1,
                item.form,
                _agreement(values[item.move.delta], item.array, _ROUNDING * item.size),
            )
            for item in together
        )
    return Explanation(
        name,
        target_name,
        chosen.type.sizes,
        chosen.operation.name,
        str(chosen.origin or ""),
        scope,
        _value(derived, chosen, scope),
        derivation,
        tuple(short_name(derived, item, scope) for item in walk.given),
        walk.complete,
        closings,
        verdict,
    )


def _shortest_scope(graph: Graph, walk: Walk, name: str) -> str:
    """The scope around the node in which the names of the derivation are shortest."""
    scopes, scope = [], scope_of(name)
    while scope:
        scopes.append(scope)
        scope = scope_of(scope)
    nodes = [move.node for move in walk.moves]
    nodes += [term.tail for move in walk.moves for term in move.terms]
    return min([*scopes, ""], key=lambda s: sum(len(short_name(graph, n, s)) for n in nodes))


def _value(graph: Graph, node: Node, scope: str) -> str:
    """How the node is computed: sums of sums as one sum, and w · z for what is weighted."""
    if node.operation not in (add, multiply, subtract):
        return value_in(graph, node, scope)
    weighted = {
        tail
        for leaf in graph.parameters.values()
        for tail in graph.tails(leaf)
        if tail.operation is multiply
    }
    chosen = [
        item
        for item in graph.nodes
        if item.heads and not is_unnamed(graph, item) and item not in weighted
    ]
    return Writer(graph, scope, known=frozenset(chosen)).text(node, opened=True)


def _leaves(graph: Graph, node: Node) -> list[Node]:
    """What is derived for: the node itself, and all leaves, so that every sum is whole."""
    floats = [
        leaf for leaf in (*graph.inputs.values(), *graph.parameters.values()) if leaf.type.is_float
    ]
    return list(dict.fromkeys([*floats, node]))


def _need_delta(graph: Graph, node: Node, target: str) -> None:
    name = graph.name_of(node)
    if not node.type.is_float:
        raise UnknownNameError(
            f"{name!r} is {node.type}: only floats have deltas",
            node.origin,
            "ask for a node of floats",
        )
    if graph.delta_or_none(node) is None or graph[target] not in graph.descendants([node]):
        raise UnknownNameError(
            f"{target} does not depend on {name!r}: its delta is 0 and there is nothing to derive",
            node.origin,
            "ask for a node on the way to the loss",
        )
    if graph[target].dtype != np.float64:
        raise DeclarationError(
            f"{target!r} is {graph[target].type}: the numbers need float64",
            fix="declare the model with dtype float64",
        )


def _step(graph: Graph, move: Move, scope: str, values: _Values) -> DerivationStep:
    likewise = [values.whole(other) for other in move.likewise]
    return DerivationStep(
        short_name(graph, move.node, scope),
        graph.name_of(move.node),
        tuple(_line(graph, term, scope, values.term(move.node, term)) for term in move.terms),
        values.total(move),
        tuple(short_name(graph, other.node, scope) for other in move.likewise),
        _worst(likewise) if likewise else None,
    )


def _line(graph: Graph, term: Term, scope: str, agreement: LineAgreement | None) -> Line:
    return Line(
        short_name(graph, term.tail, scope),
        term.use,
        term.formulas,
        term.rules,
        reason(term.tail.operation),
        tuple(short_name(graph, node, scope) for node in term.passed),
        short_name(graph, term.sender, scope),
        str(term.tail.origin or ""),
        agreement,
    )


class _Values:
    """The numbers that a derivation is compared with."""

    def __init__(self, graph: Graph, target: Node, values: Mapping[Node, np.ndarray]) -> None:
        self.graph, self.values = graph, values
        self.perturbation = Perturbation(graph, target, values)

    def total(self, move: Move) -> LineAgreement:
        """Whether δ is the sum of what the tails send back."""
        sent = [self.values[item.value] for term in move.terms for item in term.sent]
        whole = self.values[move.delta]
        if not sent:
            return _agreement(whole, whole, 0.0)
        # parts that cancel leave the rounding of the parts
        size = max((float(np.max(np.abs(part))) for part in sent if part.size), default=0.0)
        return _agreement(whole, np.sum(sent, axis=0), _ROUNDING * size)

    def whole(self, move: Move) -> LineAgreement:
        """The worst of all that a move says."""
        lines = [self.term(move.node, term) for term in move.terms]
        return _worst([self.total(move), *(line for line in lines if line is not None)])

    def term(self, node: Node, term: Term) -> LineAgreement | None:
        """What the tail sends back by its rule, against the change of the tail."""
        delta = self.graph.delta_or_none(term.tail)
        if isinstance(term.tail.operation, ReplacedDelta) or delta is None:
            return None
        sent = np.sum([self.values[item.value] for item in term.sent], axis=0)
        weight, value = self.values[delta], self.values[node]
        places = _places(sent)
        finite = value[np.isfinite(value)]
        length = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
        length = length or 1.0  # zeros, and constants of -∞, have no length of their own
        numeric = np.array(
            [self._slope(term.tail, node, weight, value, place, length) for place in places]
        )
        left = sent.reshape(-1)[places]
        size = float(np.sum(np.abs(np.where(weight == 0, 0.0, weight * self.values[term.tail]))))
        noise = _ROUNDING * (size if np.isfinite(size) else 1.0) / (_STEP * length)
        return _agreement(left, numeric, noise)

    def _slope(
        self,
        tail: Node,
        node: Node,
        weight: np.ndarray,
        value: np.ndarray,
        place: int,
        length: float,
    ) -> float:
        moved = value.copy()
        centre = float(value.reshape(-1)[place])
        h = _STEP * max(abs(centre) if np.isfinite(centre) else 0.0, length)
        slope = 0.0
        for side in (h, -h):
            moved.reshape(-1)[place] = centre + side
            growth = self.perturbation.change_of(tail, node, moved)
            slope += float(np.sum(np.where(weight == 0, 0.0, weight * growth))) / (2 * side)
        return slope


def _places(sent: np.ndarray) -> np.ndarray:
    """The elements that are compared: all of a small array; of a large one the largest half and
    others spread evenly."""
    if sent.size <= SAMPLED:
        return np.arange(sent.size)
    flat = np.nan_to_num(np.abs(sent.reshape(-1)), nan=np.inf)
    largest = np.argpartition(flat, -SAMPLED // 2)[-SAMPLED // 2 :]
    spread = np.linspace(0, sent.size - 1, SAMPLED - largest.size).astype(int)
    return np.unique(np.concatenate([largest, spread]))


def _agreement(left: np.ndarray, right: np.ndarray, noise: float) -> LineAgreement:
    left, right = np.broadcast_arrays(np.asarray(left, float), np.asarray(right, float))
    if not left.size:
        return LineAgreement(0.0, 0.0, 0, True)
    difference = float(np.max(np.abs(left - right)))
    largest = float(max(np.max(np.abs(left)), np.max(np.abs(right))))
    agrees = difference <= TOLERANCE * largest + noise
    return LineAgreement(difference, largest, int(left.size), bool(agrees))


def _worst(found: Sequence[LineAgreement]) -> LineAgreement:
    """The least of several agreements."""
    worst = max(found, key=lambda item: (not item.agrees, item.difference))
    elements = sum(item.elements for item in found)
    return LineAgreement(worst.difference, worst.largest, elements, worst.agrees)
