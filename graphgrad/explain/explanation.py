"""Explains the delta of one node: derives it step by step and compares every step with numbers.

    δ[u] = Σ over the tails t of u of what t sends back

Each step is checked on a real batch in float64. The left side is the value of the delta in the
derived graph. The right side is computed without the rule: every element of the head (or a sample
of them) is moved by ±h, and the change of that one tail is weighted with its δ:

    ⟨δ_t, t(z_u + h e_i) - t(z_u - h e_i)⟩ / 2h

So a wrong line is found, and it is the line of the wrong rule. The closed form of all steps is a
graph, which is rewritten by the passes and evaluated. The whole delta is compared with finite
differences of the loss, for which the graph is cut at the node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from graphgrad.backprop import derive
from graphgrad.backprop.formula import is_unnamed, scaled_head, scope_of, short_name, value_in
from graphgrad.checks.finite_differences import Verdict, check
from graphgrad.checks.perturbation import Perturbation
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.explain.closed_form import ClosedForm, closed_forms
from graphgrad.explain.derivation import STEPS, DeltaStep, Derivation, Term, find_derivation
from graphgrad.explain.expression import Writer
from graphgrad.explain.neurons import neuron_of
from graphgrad.explain.rule_explanations import note_of, reason
from graphgrad.graph import Graph, Node
from graphgrad.ops import add, multiply, subtract
from graphgrad.ops.custom import ReplacedDelta
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import sizes_of, specialise

Arrays = Mapping[str, np.ndarray]

SAMPLED = 32
"""The largest number of elements for which a step is checked."""
TOLERANCE = 1e-6
"""The largest difference, relative to the largest element, of two sides that agree."""
_STEP = 6e-6
_ROUNDING = 64 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class LineAgreement:
    """The comparison of both sides of a line: their largest difference, the largest element, the
    number of compared elements, and whether the sides count as equal."""

    difference: float
    largest: float
    elements: int
    agrees: bool


@dataclass(frozen=True, slots=True)
class Line:
    """The part of one tail: `δ[total] / tokens`, the rule, and the agreement with numbers."""

    tail: str
    use: str
    formulas: tuple[str, ...]
    rules: tuple[str, ...]
    reason: str
    passed: tuple[str, ...]
    """The nodes that pass the δ in the formula on unchanged."""
    sender: str
    origin: str
    agreement: LineAgreement | None
    """None for a rule that the user has replaced: it need not be the derivative."""


@dataclass(frozen=True, slots=True)
class DerivationStep:
    """δ of one node: a line for each tail, and whether the sum of all is δ."""

    node: str
    full_name: str
    lines: tuple[Line, ...]
    total: LineAgreement
    similar: tuple[str, ...]
    """Nodes whose steps differ only in the numbers of names."""
    similar_agreement: LineAgreement | None


@dataclass(frozen=True, slots=True)
class ClosedFormLine:
    """Several steps in one expression for the delta of the first: steps `first` to `last`."""

    node: str
    first: int
    last: int
    form: ClosedForm
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
    """The formula that computes the node."""
    steps: tuple[DerivationStep, ...]
    given: tuple[str, ...]
    """Deltas at which the derivation stops before the loss."""
    complete: bool
    closed_forms: tuple[ClosedFormLine, ...]
    verdict: Verdict
    neuron: str = ""
    """heads(u) and tails(u) of the neuron that the node belongs to, if there is one."""
    note: str = ""
    """What the symbols of the formula stand for, where the formula does not say it."""

    @property
    def agrees(self) -> bool:
        """Whether every line agrees with the numbers."""
        found = [line.agreement for line in self.closed_forms]
        for step in self.steps:
            found += [step.total, *(line.agreement for line in step.lines if line.agreement)]
            found += [step.similar_agreement] if step.similar_agreement else []
        return all(item.agrees for item in found) and self.verdict.verdict != "wrong"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self, dict_factory=_with_json_keys)
        return {**values, "verdict": self.verdict.to_dict(), "agrees": self.agrees}


_JSON_KEYS = {
    "closed_forms": "together",
    "form": "said",
    "index": "place",
    "similar": "likewise",
    "similar_agreement": "likewise_agreement",
}
"""Keys of the JSON whose fields have other names here; the keys never change."""


def _with_json_keys(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {_JSON_KEYS.get(name, name): value for name, value in fields}


def explain(
    graph: Graph,
    node: str | Node,
    feeds: Arrays,
    state: Arrays | None = None,
    of: str = "loss",
    steps: int = STEPS,
) -> Explanation:
    """Derives δ of a node of a forward graph and checks it with these inputs and this state.

    `of` is the float64 scalar whose derivatives the deltas are. After `steps` steps the derivation
    stops at deltas that are not derived. Raises UnknownNameError for an unknown node, and for one
    that `of` does not depend on.
    """
    forward = specialise(graph, sizes_of(graph, feeds))
    name = forward.name_of(forward[node])
    target_name = forward.name_of(forward[of])
    derived = derive(forward, target_name, _leaves(forward, forward[name]))
    chosen, target = derived[name], derived[target_name]
    _need_delta(derived, chosen, target_name)
    values = evaluate(derived, feeds, state)
    scope = _shortest_scope(derived, find_derivation(derived, chosen, target, "", steps), name)
    derivation = find_derivation(derived, chosen, target, scope, steps)
    forms = closed_forms(derived, derivation, scope, values)
    checker = _Checker(derived, target, values)
    (verdict,) = check(forward, target_name, feeds, state, [name])
    with np.errstate(all="ignore"):
        checked_steps = tuple(_step(derived, step, scope, checker) for step in derivation.steps)
        lines = tuple(
            ClosedFormLine(
                short_name(derived, item.step.node, scope),
                item.first,
                item.first + item.form.steps - 1,
                item.form,
                _agreement(values[item.step.delta], item.array, _ROUNDING * item.size),
            )
            for item in forms
        )
    return Explanation(
        name,
        target_name,
        chosen.type.sizes,
        chosen.operation.name,
        str(chosen.origin or ""),
        scope,
        _value(derived, chosen, scope),
        checked_steps,
        tuple(short_name(derived, item, scope) for item in derivation.given),
        derivation.complete,
        lines,
        verdict,
        str(neuron_of(derived, chosen) or ""),
        note_of(chosen.operation),
    )


def _shortest_scope(graph: Graph, derivation: Derivation, name: str) -> str:
    """The scope around the node in which the names of the derivation are shortest."""
    scopes, scope = [], scope_of(name)
    while scope:
        scopes.append(scope)
        scope = scope_of(scope)
    nodes = [step.node for step in derivation.steps]
    nodes += [term.tail for step in derivation.steps for term in step.terms]
    return min([*scopes, ""], key=lambda s: sum(len(short_name(graph, n, s)) for n in nodes))


def _value(graph: Graph, node: Node, scope: str) -> str:
    """The formula that computes the node: sums of sums as one sum, weighted terms as w · z."""
    if node.operation not in (add, multiply, subtract) or scaled_head(node) is not None:
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
    """The nodes to derive for: the node itself and all float leaves, so that every sum is whole."""
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
            "choose a node of floats",
        )
    if graph.delta_or_none(node) is None or graph[target] not in graph.descendants([node]):
        raise UnknownNameError(
            f"{target} does not depend on {name!r}: its delta is 0 and there is nothing to derive",
            node.origin,
            "choose a node that the loss depends on",
        )
    if graph[target].dtype != np.float64:
        raise DeclarationError(
            f"{target!r} is {graph[target].type}: the numbers need float64",
            fix="declare the model with dtype float64",
        )


def _step(graph: Graph, step: DeltaStep, scope: str, checker: _Checker) -> DerivationStep:
    similar = [checker.whole_step(other) for other in step.similar]
    return DerivationStep(
        short_name(graph, step.node, scope),
        graph.name_of(step.node),
        tuple(_line(graph, term, scope, checker.term(step.node, term)) for term in step.terms),
        checker.total(step),
        tuple(short_name(graph, other.node, scope) for other in step.similar),
        _worst(similar) if similar else None,
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


class _Checker:
    """Compares the lines of a derivation with numbers."""

    def __init__(self, graph: Graph, target: Node, values: Mapping[Node, np.ndarray]) -> None:
        self.graph, self.values = graph, values
        self.perturbation = Perturbation(graph, target, values)

    def total(self, step: DeltaStep) -> LineAgreement:
        """Compares δ with the sum of what the tails send back."""
        sent = [self.values[item.value] for term in step.terms for item in term.sent]
        whole = self.values[step.delta]
        if not sent:
            return _agreement(whole, whole, 0.0)
        # the sum of terms that cancel has the rounding errors of the terms
        size = max((float(np.max(np.abs(part))) for part in sent if part.size), default=0.0)
        return _agreement(whole, np.sum(sent, axis=0), _ROUNDING * size)

    def whole_step(self, step: DeltaStep) -> LineAgreement:
        """The worst agreement among the lines of a step and their sum."""
        lines = [self.term(step.node, term) for term in step.terms]
        return _worst([self.total(step), *(line for line in lines if line is not None)])

    def term(self, node: Node, term: Term) -> LineAgreement | None:
        """Compares what the tail sends back by its rule with the change of the tail."""
        delta = self.graph.delta_or_none(term.tail)
        if isinstance(term.tail.operation, ReplacedDelta) or delta is None:
            return None
        sent = np.sum([self.values[item.value] for item in term.sent], axis=0)
        weight, value = self.values[delta], self.values[node]
        positions = _positions(sent)
        finite = value[np.isfinite(value)]
        length = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
        length = length or 1.0  # for values that are all 0 or infinite
        numeric = np.array(
            [self._slope(term.tail, node, weight, value, at, length) for at in positions]
        )
        left = sent.reshape(-1)[positions]
        size = float(np.sum(np.abs(np.where(weight == 0, 0.0, weight * self.values[term.tail]))))
        noise = _ROUNDING * (size if np.isfinite(size) else 1.0) / (_STEP * length)
        return _agreement(left, numeric, noise)

    def _slope(
        self,
        tail: Node,
        node: Node,
        weight: np.ndarray,
        value: np.ndarray,
        position: int,
        length: float,
    ) -> float:
        """The slope of the tail, weighted with its δ, along one element of the node."""
        moved = value.copy()
        centre = float(value.reshape(-1)[position])
        h = _STEP * max(abs(centre) if np.isfinite(centre) else 0.0, length)
        slope = 0.0
        for side in (h, -h):
            moved.reshape(-1)[position] = centre + side
            growth = self.perturbation.change_of(tail, node, moved)
            slope += float(np.sum(np.where(weight == 0, 0.0, weight * growth))) / (2 * side)
        return slope


def _positions(sent: np.ndarray) -> np.ndarray:
    """The elements to compare: all of a small array; of a large one `SAMPLED`, half of them the
    largest, half spread evenly."""
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
    """The worst of several agreements, with all their elements counted."""
    worst = max(found, key=lambda item: (not item.agrees, item.difference))
    elements = sum(item.elements for item in found)
    return LineAgreement(worst.difference, worst.largest, elements, worst.agrees)
