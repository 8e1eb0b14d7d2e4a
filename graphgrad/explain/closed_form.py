"""Combines the steps of a derivation into closed forms: the delta as one expression on one line.

The expression is a graph: the delta, with the deltas at which it ends as inputs. The passes rewrite
it like every training graph, and every applied rule is recorded; then its factors are ordered as in
a textbook and it is written with p, y and N for the softmax, the truth and the count of a
cross-entropy. It is evaluated from the forward values, so the closed form is checked like all other
lines.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.errors import PassError
from graphgrad.explain.derivation import DeltaStep, Derivation
from graphgrad.explain.expression import Writer, is_one_hot
from graphgrad.explain.subgraph import ROOT, Subgraph
from graphgrad.explain.textbook import QUIET, ordered, rewritten
from graphgrad.graph import Graph, Node, constant
from graphgrad.ops import add, divide, multiply
from graphgrad.ops.composite import softmax, standardise
from graphgrad.ops.evaluate import evaluate

WIDEST = 132
"""The largest number of characters of an expression, which limits the steps that it combines."""
LONG = 100
"""Characters from which on δ and x̂ are used as symbols, too."""
RUNS = 3
"""The largest number of closed forms of one derivation."""
_MOST = 6  # rewrites that are listed


@dataclass(frozen=True, slots=True)
class Definition:
    """A symbol of the expression: its meaning, and its value at the example."""

    symbol: str
    text: str
    example: float | None


@dataclass(frozen=True, slots=True)
class AppliedRule:
    """A rule that a pass applied: the expressions before and after."""

    stage: str
    rule: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """The delta as one expression, `text`, which combines `steps` steps of the derivation."""

    text: str
    steps: int
    definitions: tuple[Definition, ...]
    rewrites: tuple[AppliedRule, ...]
    index: tuple[int, ...]
    """The element with the largest delta, for which the definitions have values."""
    example: float | None


@dataclass(frozen=True)
class Evaluated:
    """The closed form of consecutive steps, and the value of its rewritten graph."""

    form: ClosedForm
    step: DeltaStep
    """The first of the steps, whose delta the expression is."""
    first: int
    array: np.ndarray
    size: float
    """The largest intermediate number: terms that cancel have the rounding errors of that size."""


def closed_forms(
    graph: Graph, derivation: Derivation, scope: str, values: Mapping[Node, np.ndarray]
) -> tuple[Evaluated, ...]:
    """Combines consecutive steps, as many as fit on one line; returns at most `RUNS` forms."""
    found: list[Evaluated] = []
    start = 0
    while start < len(derivation.steps) and len(found) < RUNS:
        steps = derivation.steps[start:]
        best = _longest(graph, steps, scope)
        given = {name: values[node] for name, node in best.subgraph.given.items()}
        computed = evaluate(best.graph, given)
        array = computed[best.graph.outputs[ROOT]]
        form = best.described(computed, array)
        found.append(Evaluated(form, steps[0], start + 1, array, _largest(computed)))
        start += best.count
    return tuple(found)


def _largest(values: Mapping[Node, np.ndarray]) -> float:
    largest = 0.0
    for node, value in values.items():
        if node.type.is_float and value.size:
            largest = max(
                largest, float(np.max(np.abs(value), where=np.isfinite(value), initial=0.0))
            )
    return largest


def _longest(graph: Graph, steps: Sequence[DeltaStep], scope: str) -> Candidate:
    """Combines as many steps as fit on one line, at least one.

    Every number of steps is tried: an expression can get shorter with more steps, when everything
    between the node and the loss is part of it.
    """
    best = Candidate(graph, steps, scope, 1)
    for count in range(2, len(steps) + 1):
        candidate = Candidate(graph, steps, scope, count)
        if len(candidate.text) <= WIDEST:
            best = candidate
    return best


class Candidate:
    """The expression that combines the first `count` steps of a derivation."""

    def __init__(self, graph: Graph, steps: Sequence[DeltaStep], scope: str, count: int) -> None:
        self.subgraph = Subgraph(graph, steps[:count], scope)
        self.count, self.scope = count, scope
        self.rewritten, self.rewrites = rewritten(self.subgraph.graph)
        try:
            self.graph = ordered(self.rewritten)
        except PassError:  # the order matters to readers only
            self.graph = self.rewritten
        self.node = self.graph.outputs[ROOT]
        self.definitions = self._definitions()
        self.text = self._written()
        if len(self.text) > LONG:
            self.definitions = {**self._short_symbols(), **self.definitions}
            self.text = self._written()

    def _written(self) -> str:
        return self._writer(self.graph, self.definitions).text(self.node, opened=True)

    def _short_symbols(self) -> dict[Node, str]:
        """Symbols that shorten a long expression: δ for the only given delta, and the lecture's x̂
        for the only normalised value."""
        known = self.subgraph.symbols(self.graph)
        deltas = [node for node, text in known.items() if text.startswith("δ[")]
        normal = [node for node in known if node.operation is standardise]
        return {
            found[0]: symbol for symbol, found in (("δ", deltas), ("x̂", normal)) if len(found) == 1
        }

    def _writer(self, graph: Graph, definitions: Mapping[Node, str]) -> Writer:
        return Writer(graph, self.scope, {**self.subgraph.symbols(graph), **definitions})

    def _definitions(self) -> dict[Node, str]:
        """p, y and N, each if the expression has exactly one such node."""
        known = self.subgraph.symbols(self.graph)
        inner = _inner(self.node, known)
        soft = [node for node in inner if node.operation is softmax and node not in known]
        truths = [node for node in inner if _is_truth(node)]
        truths = [node for node in truths if not any(node in other.heads for other in truths)]
        counts = dict.fromkeys(node.heads[1] for node in inner if node.operation is divide)
        counting = [node for node in counts if node in self.subgraph.counts]
        return {
            found[0]: symbol
            for symbol, found in (("p", soft), ("y", truths), ("N", counting))
            if len(found) == 1
        }

    def described(self, values: Mapping[Node, np.ndarray], array: np.ndarray) -> ClosedForm:
        """The closed form as text, with the values of its symbols at the largest delta."""
        flat = int(np.argmax(np.nan_to_num(np.abs(array)))) if array.size else 0
        at = tuple(map(int, np.unravel_index(flat, array.shape))) if array.size else ()
        plain, known = self._writer(self.graph, {}), self.subgraph.symbols(self.graph)
        definitions = tuple(
            Definition(
                symbol,
                known.get(node) or plain.text(node, opened=True),
                _at(values.get(node), array, at),
            )
            for node, symbol in self.definitions.items()
        )
        return ClosedForm(
            self.text, self.count, definitions, tuple(self._applied()), at, _at(array, array, at)
        )

    def _applied(self) -> Iterator[AppliedRule]:
        """The applied rules that change the expression, each pair of texts once."""
        symbols = {
            **self.subgraph.symbols(self.subgraph.graph),
            **self.subgraph.symbols(self.rewritten),
        }
        seen: set[tuple[str, str]] = set()
        for item in self.rewrites:
            if item.rule in QUIET or len(seen) == _MOST:
                continue
            writer = Writer(self.rewritten, self.scope, symbols)
            pair = writer.text(item.before, opened=True), writer.text(item.after, opened=True)
            if pair[0] != pair[1] and pair not in seen:
                seen.add(pair)
                yield AppliedRule(item.stage, item.rule, *pair)


def _is_truth(node: Node) -> bool:
    """Whether the node is one-hot targets, smoothed or not."""
    if is_one_hot(node):
        return True
    if node.operation in (add, multiply) and len(node.heads) == 2:
        first, second = node.heads
        known = second.operation is constant or first.operation is constant
        return known and (_is_truth(first) or _is_truth(second))
    return False


def _inner(root: Node, known: Container[Node]) -> Sequence[Node]:
    """The nodes of an expression, down to the known ones."""
    seen: dict[Node, None] = {root: None}
    stack = [root]
    while stack:
        for head in stack.pop().heads:
            if head not in seen:
                seen[head] = None
                if head not in known:
                    stack.append(head)
    return list(seen)


def _at(value: np.ndarray | None, like: np.ndarray, index: tuple[int, ...]) -> float | None:
    """The element of a value that is broadcast to an index of the delta; None if none is."""
    if value is None or not like.size:
        return None
    try:
        found = float(np.broadcast_to(value, like.shape)[index])
    except ValueError:
        return None
    return found if np.isfinite(found) else None
