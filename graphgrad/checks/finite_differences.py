"""Finite differences at every node: is each delta the derivative that it claims to be?

The graph is cut at the node u and its value moved by ±h along a random direction v of length 1:

    (L(z_u + h v) - L(z_u - h v)) / 2h      against      ⟨δ_u, v⟩

Only what depends on u is recomputed, so every node is checked and not just the parameters. Because
the cut is at u, a wrong delta rule shows at the heads of that operation and at everything before
them. The suspect is therefore found by a second, local comparison of single operations,

    ⟨δ_t, t(x + h v) - t(x - h v)⟩ / 2h      against      ⟨δ_{x←t}, v⟩

which blames a rule whatever the deltas around it are: named is the first wrong rule on the way back
from L.

- The step h is relative to the length of the value; where rounding drowns the difference it grows,
  where a kink is near it shrinks.
- A kink (relu at 0, a tie of a maximum) is where the differences to the two sides do not approach
  each other as h shrinks. There any value between them may be right; it is a warning. So is a
  difference where elements on the way lie at a kink and every rule and sum on the way is right.
- Where the only rules that differ are a user's own, declared by `with_delta`, the verdict is
  `replaced`: the delta is meant to be another one than the derivative.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from graphgrad.backprop import derive
from graphgrad.backprop.formula import delta_formula, rule_of
from graphgrad.backprop.selection import matching
from graphgrad.checks.perturbation import Perturbation
from graphgrad.checks.slopes import FACTORS, TOLERANCE, SlopeComparison, compare_slopes
from graphgrad.errors import DeclarationError, NonFiniteError
from graphgrad.graph import Graph, Node, Operation, constant
from graphgrad.ops.custom import ReplacedDelta
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import sizes_of, specialise

Arrays = Mapping[str, np.ndarray]
Judgement = Literal["ok", "wrong", "kink", "replaced", "no delta"]

STEP = 1e-5
"""The step, relative to the length of the value."""
_BENT = 0.1  # a difference of the changes to both sides that no smooth function has so near
_ROUNDING = 64 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class TailVerdict:
    """What one tail sends back to a node, against the change of that tail alone.

    `rule` says the tail's delta rule, `origin` the line that declared the tail.
    """

    tail: str
    rule: str
    verdict: Judgement
    numeric: float
    symbolic: float
    origin: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the differences say of one node's delta.

    `numeric` and `symbolic` are the derivative along the direction that fits worst, by differences
    and by the delta; `formula` is the delta as the tails give it. `suspect` names the node whose
    delta rule is to blame, `suspect_rule` says that rule, `suspect_head` the head that it sends
    the wrong delta to, `suspect_origin` the line that declared the suspect and `rule_origin` the
    line at which its rule is written. `tails` are what each tail sends back.
    """

    name: str
    operation: str
    shape: tuple[int, ...]
    verdict: Judgement
    numeric: float | None = None
    symbolic: float | None = None
    relative_error: float | None = None
    formula: str = ""
    suspect: str = ""
    suspect_rule: str = ""
    suspect_head: str = ""
    suspect_origin: str = ""
    rule_origin: str = ""
    origin: str = ""
    tails: tuple[TailVerdict, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, numbers that are not finite as None."""
        tails = [_plain(asdict(tail)) for tail in self.tails]
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**_plain(own), "shape": list(self.shape), "tails": tails}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The values, numbers that are not finite as None."""
    return {
        key: None if isinstance(value, float) and not np.isfinite(value) else value
        for key, value in values.items()
    }


def check(
    graph: Graph,
    of: str | Node,
    feeds: Arrays,
    state: Arrays | None = None,
    nodes: Iterable[str] | None = None,
    directions: int = 2,
    step: float = STEP,
    seed: int = 0,
) -> tuple[Verdict, ...]:
    """A verdict for every float node of a forward graph that the float64 scalar `of` depends on.

    `nodes` are names or patterns (`encoder.*`); None means all, without constants. `directions` is
    how many random directions a node is moved in. Raises NonFiniteError where `of` is not finite.
    """
    name = graph.name_of(graph[of])
    derived = derive(specialise(graph, sizes_of(graph, feeds)), name)
    target = derived[name]
    if target.dtype != np.float64:
        raise DeclarationError(
            f"{name!r} is {target.type}: differences need float64",
            target.origin,
            "declare the model with dtype float64 (--set dtype=float64)",
        )
    values = evaluate(derived, feeds, state)
    if not np.isfinite(values[target]):
        raise NonFiniteError(
            f"{name} is {values[target]}: there is nothing to compare",
            target.origin,
            "give other inputs or another state",
        )
    checker = _Checker(derived, target, values, directions, step, seed)
    candidates = [
        node
        for node in checker.perturbation.nodes
        if node.type.is_float and node.operation is not constant
    ]
    chosen = candidates if nodes is None else matching(derived, nodes, candidates)
    with np.errstate(all="ignore"):
        return tuple(checker.verdict(node) for node in chosen)


class _Checker:
    """The derived graph with its values, and what is known of its rules so far."""

    def __init__(
        self,
        graph: Graph,
        target: Node,
        values: Mapping[Node, np.ndarray],
        directions: int,
        step: float,
        seed: int,
    ) -> None:
        self.graph, self.values = graph, values
        self.perturbation = Perturbation(graph, target, values)
        self.directions, self.step, self.seed = directions, step, seed
        self._noise = _ROUNDING * abs(float(values[target]))
        self._rules: dict[tuple[Node, Node], bool] = {}
        self._kinked: set[Node] = set()

    def verdict(self, node: Node) -> Verdict:
        delta = self.graph.delta_or_none(node)
        if delta is None or node not in self.perturbation.position or not node.type.is_float:
            return self._verdict(node, "no delta")
        dependents = self.perturbation.dependents(node)
        results = [
            self._compared(node, self.values[delta], dependents, v) for v in self._directions(node)
        ]
        worst = max(results, key=lambda result: (result.judgement != "ok", result.error))
        if worst.judgement == "ok":
            return self._verdict(node, "ok", worst)
        judgement, suspect = self._blamed(node, dependents)
        if worst.judgement == "kink" and suspect is None:
            judgement = "kink"  # a kink excuses no rule that is wrong beside it
        return self._verdict(node, judgement, worst, suspect)

    def _verdict(
        self,
        node: Node,
        judgement: Judgement,
        result: SlopeComparison | None = None,
        suspect: tuple[Node, Node] | None = None,
    ) -> Verdict:
        rule = ""
        if suspect is not None:
            tail, head = suspect
            rule = f"{tail.operation.name}: {rule_of(tail, tail.heads.index(head))}"
        return Verdict(
            name=self.graph.name_of(node),
            operation=node.operation.name,
            shape=node.type.sizes,
            verdict=judgement,
            numeric=result.numeric if result else None,
            symbolic=result.symbolic if result else None,
            relative_error=result.error if result else None,
            formula=delta_formula(self.graph, node),
            suspect=self.graph.name_of(suspect[0]) if suspect else "",
            suspect_rule=rule,
            suspect_head=self.graph.name_of(suspect[1]) if suspect else "",
            suspect_origin=str(suspect[0].origin or "") if suspect else "",
            rule_origin=rule_origin(suspect[0].operation) if suspect else "",
            origin=str(node.origin or ""),
            tails=self.tails(node),
        )

    def tails(self, node: Node) -> tuple[TailVerdict, ...]:
        """A verdict for what each tail sends back to the node."""
        if not node.type.is_float or node not in self.perturbation.position:
            return ()
        found = []
        for tail in self.graph.tails(node):
            if tail not in self.perturbation.position or self.graph.delta_or_none(tail) is None:
                continue
            result = self._local(tail, node)
            custom = result.judgement == "wrong" and isinstance(tail.operation, ReplacedDelta)
            rule = rule_of(tail, tail.heads.index(node))
            found.append(
                TailVerdict(
                    self.graph.name_of(tail),
                    f"{tail.operation.name}: {rule}",
                    "replaced" if custom else result.judgement,
                    result.numeric,
                    result.symbolic,
                    str(tail.origin or ""),
                )
            )
        return tuple(found)

    def _directions(self, node: Node) -> Iterable[np.ndarray]:
        """Random directions of length 1; what is infinite or NaN stays so when it is moved."""
        value = self.values[node]
        # keyed by position: what else is checked does not change the directions of a node
        generator = np.random.default_rng([self.seed, self.perturbation.position[node]])
        for _ in range(self.directions if value.size else 1):
            direction = np.asarray(generator.standard_normal(value.shape))
            yield direction / max(float(np.linalg.norm(direction)), 1e-300)

    def _length(self, value: np.ndarray) -> float:
        """The first step: relative to the value's length, where it has one."""
        length = float(np.linalg.norm(value[np.isfinite(value)]))
        return self.step * (length or max(value.size, 1) ** 0.5)

    def _compared(
        self, node: Node, delta: np.ndarray, dependents: list[int], direction: np.ndarray
    ) -> SlopeComparison:
        """The derivative of the target along one direction, by differences and by the delta."""
        value = self.values[node]
        return compare_slopes(
            lambda h: self.perturbation.change(node, value + h * direction, dependents),
            float(np.sum(delta * direction)),
            float(np.linalg.norm(delta)) / max(value.size, 1) ** 0.5,
            self._length(value),
            self._noise,
        )

    def _blamed(
        self, node: Node, dependents: list[int]
    ) -> tuple[Judgement, tuple[Node, Node] | None]:
        """The first wrong rule on the way from the target back to the node, and its head."""
        here = {node, *(self.perturbation.nodes[position] for position in dependents)}
        replaced = None
        for position in reversed(dependents):
            tail = self.perturbation.nodes[position]
            for head in dict.fromkeys(tail.heads):
                if head not in here or not head.type.is_float or self._rule_holds(tail, head):
                    continue
                if not isinstance(tail.operation, ReplacedDelta):
                    return "wrong", (tail, head)
                replaced = replaced or (tail, head)
        if replaced is None and self._kinked.intersection(here) and self._sums_hold(here):
            return "kink", None  # by the chain rule δ is right where every rule and sum is
        return ("replaced" if replaced else "wrong"), replaced

    def _sums_hold(self, nodes: Iterable[Node]) -> bool:
        """Whether the delta of each of these nodes is the sum of what its tails send back."""
        for node in nodes:
            delta, sent = self.graph.delta_or_none(node), self.graph.sent_back(node)
            if delta is None or not sent:
                continue
            total = np.sum([self.values[item.value] for item in sent], axis=0)
            if not np.allclose(self.values[delta], total, TOLERANCE, 0.0, equal_nan=True):
                return False
        return True

    def _rule_holds(self, tail: Node, head: Node) -> bool:
        """Whether what the tail sends back to this head is the derivative of the tail."""
        if (tail, head) not in self._rules:
            self._rules[tail, head] = self._local(tail, head).judgement != "wrong"
        return self._rules[tail, head]

    def _local(self, tail: Node, head: Node) -> SlopeComparison:
        delta = self.graph.delta_or_none(tail)
        if delta is None:
            return SlopeComparison(0.0, 0.0, 0.0, "ok")
        sent = [self.values[item.value] for item in self.graph.sent_back(head) if item.tail is tail]
        total = np.sum(sent, axis=0) if sent else np.zeros(head.type.sizes)
        weight, value = self.values[delta], self.values[head]
        (direction, *_) = self._directions(head)
        bent = self._bent(tail, head, direction)
        if bent is not None:
            self._kinked.add(tail)
            weight, total = np.where(bent, 0.0, weight), np.where(bent, 0.0, total)

        def change(h: float) -> float:
            grown = self.perturbation.change_of(tail, head, value + h * direction)
            return float(np.sum(np.where(weight == 0, 0.0, weight * grown)))

        size = float(np.sum(np.abs(np.where(weight == 0, 0.0, weight * self.values[tail]))))
        noise = _ROUNDING * (size if np.isfinite(size) else float(np.linalg.norm(weight)))
        typical = float(np.linalg.norm(total)) / max(value.size, 1) ** 0.5
        return compare_slopes(
            change, float(np.sum(total * direction)), typical, self._length(value), noise
        )

    def _bent(self, tail: Node, head: Node, direction: np.ndarray) -> np.ndarray | None:
        """The elements of an elementwise operation that a step carries over a kink: there the
        changes to the two sides differ. Among a million relus some are always that near to 0, and
        one of them would drown a rule that is right. None where there are none."""
        if not tail.operation.kernel or tail.shape != head.shape:
            return None
        step = self._length(self.values[head]) * max(FACTORS) * direction
        value = self.values[head]
        ahead = self.perturbation.change_of(tail, head, value + step)
        behind = self.perturbation.change_of(tail, head, value - step)
        bent = np.abs(ahead + behind) > _BENT * (np.abs(ahead) + np.abs(behind))
        return bent if bent.any() and not bent.all() else None


def rule_origin(operation: Operation) -> str:
    """File and line at which the delta rule of an operation is written; empty where unknown."""
    code = getattr(operation.delta, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""
