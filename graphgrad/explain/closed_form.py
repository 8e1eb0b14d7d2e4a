"""All steps of a derivation put together: the delta as one expression, as far as a line holds.

The expression is a graph of its own: the delta with the deltas it stops at as inputs. The passes
rewrite it as they rewrite every training graph, each rule on record; then it is put in the order of
a textbook and written down, p, y and N for the softmax, the truth and the count of a cross-entropy.
It is evaluated from the forward values alone, so what is written last is as certain as the rest.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.errors import PassError
from graphgrad.explain.derivation import Move, Walk
from graphgrad.explain.expression import Writer, is_one_hot
from graphgrad.explain.subgraph import ROOT, Subgraph
from graphgrad.explain.textbook import QUIET, ordered, rewritten
from graphgrad.graph import Graph, Node, constant
from graphgrad.ops import add, divide, multiply
from graphgrad.ops.composite import softmax, standardise
from graphgrad.ops.evaluate import evaluate

WIDEST = 132
"""Characters of an expression; as many steps are put into it as that allows."""
LONG = 100
RUNS = 3
_MOST = 6  # rewrites that are listed


@dataclass(frozen=True, slots=True)
class Definition:
    """A symbol of the expression: what it stands for, and its value at the example."""

    symbol: str
    text: str
    example: float | None


@dataclass(frozen=True, slots=True)
class AppliedRule:
    """A rule of a pass that fired: what it made of what."""

    stage: str
    rule: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """`text` is the delta; `steps` says how many steps of the derivation it holds."""

    text: str
    steps: int
    definitions: tuple[Definition, ...]
    rewrites: tuple[AppliedRule, ...]
    place: tuple[int, ...]
    """The element of largest delta, for which the definitions give values."""
    example: float | None


@dataclass(frozen=True)
class Evaluated:
    """The expression of one run of steps, and its value as it was rewritten."""

    form: ClosedForm
    move: Move
    """The first of the steps: the expression is its delta."""
    first: int
    array: np.ndarray
    size: float
    """The largest number on the way: what cancels leaves the rounding of that."""


def closed_forms(
    graph: Graph, walk: Walk, scope: str, values: Mapping[Node, np.ndarray]
) -> tuple[Evaluated, ...]:
    """The walk cut into runs of steps, each as long as fits on one line, at most `RUNS`."""
    found: list[Evaluated] = []
    start = 0
    while start < len(walk.moves) and len(found) < RUNS:
        moves = walk.moves[start:]
        best = _longest(graph, moves, scope)
        given = {name: values[node] for name, node in best.subgraph.given.items()}
        computed = evaluate(best.graph, given)
        array = computed[best.graph.outputs[ROOT]]
        form = best.described(computed, array)
        found.append(Evaluated(form, moves[0], start + 1, array, _largest(computed)))
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


def _longest(graph: Graph, moves: Sequence[Move], scope: str) -> Candidate:
    """The most steps that fit on one line; at least one. What is longer on the way may become
    shorter again, where all that stands between the node and the loss is inside."""
    best = Candidate(graph, moves, scope, 1)
    for count in range(2, len(moves) + 1):
        candidate = Candidate(graph, moves, scope, count)
        if len(candidate.text) <= WIDEST:
            best = candidate
    return best


class Candidate:
    """The expression that holds the first `count` moves of a walk."""

    def __init__(self, graph: Graph, moves: Sequence[Move], scope: str, count: int) -> None:
        self.subgraph = Subgraph(graph, moves[:count], scope)
        self.count, self.scope = count, scope
        self.rewritten, self.witness = rewritten(self.subgraph.graph)
        try:
            self.graph = ordered(self.rewritten)
        except PassError:  # the order is for the eye only
            self.graph = self.rewritten
        self.node = self.graph.outputs[ROOT]
        self.definitions = self._definitions()
        self.text = self._written()
        if len(self.text) > LONG:
            self.definitions = {**self._letters(), **self.definitions}
            self.text = self._written()

    def _written(self) -> str:
        return self._writer(self.graph, self.definitions).text(self.node, opened=True)

    def _letters(self) -> dict[Node, str]:
        """What makes a long expression short: δ for the one delta that is given, and the lecture's
        x̂ for what a layer normalisation made."""
        known = self.subgraph.symbols(self.graph)
        deltas = [node for node, text in known.items() if text.startswith("δ[")]
        normal = [node for node in known if node.operation is standardise]
        return {
            found[0]: letter for letter, found in (("δ", deltas), ("x̂", normal)) if len(found) == 1
        }

    def _writer(self, graph: Graph, definitions: Mapping[Node, str]) -> Writer:
        return Writer(graph, self.scope, {**self.subgraph.symbols(graph), **definitions})

    def _definitions(self) -> dict[Node, str]:
        """p, y and N, each where the expression has exactly one such node."""
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
        """The rules that say something, each once."""
        symbols = {
            **self.subgraph.symbols(self.subgraph.graph),
            **self.subgraph.symbols(self.rewritten),
        }
        seen: set[tuple[str, str]] = set()
        for item in self.witness:
            if item.rule in QUIET or len(seen) == _MOST:
                continue
            writer = Writer(self.rewritten, self.scope, symbols)
            pair = writer.text(item.before, opened=True), writer.text(item.after, opened=True)
            if pair[0] != pair[1] and pair not in seen:
                seen.add(pair)
                yield AppliedRule(item.stage, item.rule, *pair)


def _is_truth(node: Node) -> bool:
    """One-hot targets, smoothed or not."""
    if is_one_hot(node):
        return True
    if node.operation in (add, multiply) and len(node.heads) == 2:
        first, second = node.heads
        known = second.operation is constant or first.operation is constant
        return known and (_is_truth(first) or _is_truth(second))
    return False


def _inner(root: Node, known: Container[Node]) -> Sequence[Node]:
    """The nodes that an expression is made of, down to the known ones."""
    seen: dict[Node, None] = {root: None}
    stack = [root]
    while stack:
        for head in stack.pop().heads:
            if head not in seen:
                seen[head] = None
                if head not in known:
                    stack.append(head)
    return list(seen)


def _at(value: np.ndarray | None, like: np.ndarray, place: tuple[int, ...]) -> float | None:
    """The element of a value that belongs to a place of the delta; None where it has none."""
    if value is None or not like.size:
        return None
    try:
        found = float(np.broadcast_to(value, like.shape)[place])
    except ValueError:
        return None
    return found if np.isfinite(found) else None
