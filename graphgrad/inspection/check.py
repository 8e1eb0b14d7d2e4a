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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from graphgrad.backprop import derive
from graphgrad.errors import DeclarationError, NonFiniteError
from graphgrad.graph import CONSTANT, Graph, Node, Operation
from graphgrad.inspection.formula import delta_formula, rule_of
from graphgrad.inspection.replay import Replay
from graphgrad.inspection.selection import matching
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import sizes_of, specialise

Arrays = Mapping[str, np.ndarray]
Judgement = Literal["ok", "wrong", "kink", "replaced", "no delta"]

TOLERANCE = 1e-6
"""The largest relative error of a right delta."""
STEP = 1e-5
"""The step, relative to the length of the value."""
_FACTORS = (1.0, 1 / 16, 1 / 256, 16.0, 256.0)
_GAP = 1e-3  # a relative distance of the slopes to the two sides that is worth a second look
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
    return {key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in values.items()}  # fmt: skip


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
    candidates = [node for node in checker.replay.nodes
                  if node.type.is_float and node.operation is not CONSTANT]  # fmt: skip
    chosen = candidates if nodes is None else matching(derived, nodes, candidates)
    with np.errstate(all="ignore"):
        return tuple(checker.verdict(node) for node in chosen)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison: the two derivatives, their relative error, and what that means."""

    numeric: float
    symbolic: float
    error: float
    judgement: Literal["ok", "wrong", "kink"]


class _Checker:
    """The derived graph with its values, and what is known of its rules so far."""

    def __init__(
        self, graph: Graph, target: Node, values: Mapping[Node, np.ndarray],
        directions: int, step: float, seed: int,
    ) -> None:  # fmt: skip
        self.graph, self.values = graph, values
        self.replay = Replay(graph, target, values)
        self.directions, self.step, self.seed = directions, step, seed
        self._noise = _ROUNDING * abs(float(values[target]))
        self._rules: dict[tuple[Node, Node], bool] = {}
        self._kinked: set[Node] = set()

    def verdict(self, node: Node) -> Verdict:
        delta = self.graph.delta_or_none(node)
        if delta is None or node not in self.replay.position or not node.type.is_float:
            return self._verdict(node, "no delta")
        dependents = self.replay.dependents(node)
        results = [self._compared(node, self.values[delta], dependents, v)
                   for v in self._directions(node)]  # fmt: skip
        worst = max(results, key=lambda result: (result.judgement != "ok", result.error))
        if worst.judgement == "ok":
            return self._verdict(node, "ok", worst)
        judgement, suspect = self._blamed(node, dependents)
        if worst.judgement == "kink" and suspect is None:
            judgement = "kink"  # a kink excuses no rule that is wrong beside it
        return self._verdict(node, judgement, worst, suspect)

    def _verdict(
        self, node: Node, judgement: Judgement, result: Comparison | None = None,
        suspect: tuple[Node, Node] | None = None,
    ) -> Verdict:  # fmt: skip
        rule = ""
        if suspect is not None:
            tail, head = suspect
            rule = f"{tail.operation.name}: {rule_of(tail, tail.heads.index(head))}"
        return Verdict(
            name=self.graph.name_of(node), operation=node.operation.name, shape=node.type.sizes,
            verdict=judgement,
            numeric=result.numeric if result else None,
            symbolic=result.symbolic if result else None,
            relative_error=result.error if result else None,
            formula=delta_formula(self.graph, node),
            suspect=self.graph.name_of(suspect[0]) if suspect else "", suspect_rule=rule,
            suspect_head=self.graph.name_of(suspect[1]) if suspect else "",
            suspect_origin=str(suspect[0].origin or "") if suspect else "",
            rule_origin=rule_origin(suspect[0].operation) if suspect else "",
            origin=str(node.origin or ""), tails=self.tails(node),
        )  # fmt: skip

    def tails(self, node: Node) -> tuple[TailVerdict, ...]:
        """A verdict for what each tail sends back to the node."""
        if not node.type.is_float or node not in self.replay.position:
            return ()
        found = []
        for tail in self.graph.tails(node):
            if tail not in self.replay.position or self.graph.delta_or_none(tail) is None:
                continue
            result = self._local(tail, node)
            custom = result.judgement == "wrong" and tail.operation.name == "with_delta"
            rule = rule_of(tail, tail.heads.index(node))
            found.append(TailVerdict(
                self.graph.name_of(tail), f"{tail.operation.name}: {rule}",
                "replaced" if custom else result.judgement, result.numeric, result.symbolic,
                str(tail.origin or ""),
            ))  # fmt: skip
        return tuple(found)

    def _directions(self, node: Node) -> Iterable[np.ndarray]:
        """Random directions of length 1; what is infinite or NaN stays so when it is moved."""
        value = self.values[node]
        # keyed by position: what else is checked does not change the directions of a node
        generator = np.random.default_rng([self.seed, self.replay.position[node]])
        for _ in range(self.directions if value.size else 1):
            direction = np.asarray(generator.standard_normal(value.shape))
            yield direction / max(float(np.linalg.norm(direction)), 1e-300)

    def _length(self, value: np.ndarray) -> float:
        """The first step: relative to the value's length, where it has one."""
        length = float(np.linalg.norm(value[np.isfinite(value)]))
        return self.step * (length or max(value.size, 1) ** 0.5)

    def _compared(
        self, node: Node, delta: np.ndarray, dependents: list[int], direction: np.ndarray
    ) -> Comparison:
        """The derivative of the target along one direction, by differences and by the delta."""
        value = self.values[node]
        return compare(
            lambda h: self.replay.change(node, value + h * direction, dependents),
            float(np.sum(delta * direction)),
            float(np.linalg.norm(delta)) / max(value.size, 1) ** 0.5,
            self._length(value),
            self._noise,
        )

    def _blamed(
        self, node: Node, dependents: list[int]
    ) -> tuple[Judgement, tuple[Node, Node] | None]:
        """The first wrong rule on the way from the target back to the node, and its head."""
        here = {node, *(self.replay.nodes[position] for position in dependents)}
        replaced = None
        for position in reversed(dependents):
            tail = self.replay.nodes[position]
            for head in dict.fromkeys(tail.heads):
                if head not in here or not head.type.is_float or self._rule_holds(tail, head):
                    continue
                if tail.operation.name != "with_delta":
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

    def _local(self, tail: Node, head: Node) -> Comparison:
        delta = self.graph.delta_or_none(tail)
        if delta is None:
            return Comparison(0.0, 0.0, 0.0, "ok")
        sent = [self.values[item.value] for item in self.graph.sent_back(head)
                if item.tail is tail]  # fmt: skip
        total = np.sum(sent, axis=0) if sent else np.zeros(head.type.sizes)
        weight, value = self.values[delta], self.values[head]
        (direction, *_) = self._directions(head)
        bent = self._bent(tail, head, direction)
        if bent is not None:
            self._kinked.add(tail)
            weight, total = np.where(bent, 0.0, weight), np.where(bent, 0.0, total)

        def change(h: float) -> float:
            grown = self.replay.change_of(tail, head, value + h * direction)
            return float(np.sum(np.where(weight == 0, 0.0, weight * grown)))

        size = float(np.sum(np.abs(np.where(weight == 0, 0.0, weight * self.values[tail]))))
        noise = _ROUNDING * (size if np.isfinite(size) else float(np.linalg.norm(weight)))
        typical = float(np.linalg.norm(total)) / max(value.size, 1) ** 0.5
        return compare(
            change, float(np.sum(total * direction)), typical, self._length(value), noise
        )

    def _bent(self, tail: Node, head: Node, direction: np.ndarray) -> np.ndarray | None:
        """The elements of an elementwise operation that a step carries over a kink: there the
        changes to the two sides differ. Among a million relus some are always that near to 0, and
        one of them would drown a rule that is right. None where there are none."""
        if not tail.operation.kernel or tail.shape != head.shape:
            return None
        step = self._length(self.values[head]) * max(_FACTORS) * direction
        ahead, behind = (self.replay.change_of(tail, head, self.values[head] + side)
                         for side in (step, -step))  # fmt: skip
        bent = np.abs(ahead + behind) > _BENT * (np.abs(ahead) + np.abs(behind))
        return bent if bent.any() and not bent.all() else None


def rule_origin(operation: Operation) -> str:
    """File and line at which the delta rule of an operation is written; empty where unknown."""
    code = getattr(operation.delta, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


@dataclass(frozen=True, slots=True)
class _Trial:
    """One step h: the slope it gives, the relative distance of the slopes to the two sides, the
    relative error beyond rounding, and the rounding relative to the slope."""

    factor: float
    numeric: float
    gap: float
    error: float
    blur: float


def compare(
    change: Callable[[float], float], symbolic: float, typical: float, step: float, noise: float
) -> Comparison:
    """The slope of `change` at 0 against `symbolic`.

    `typical` is a size below which no difference of the two counts, and `noise` the rounding error
    of `change`. Steps are tried until one settles it; more than one where it is not plainly right.
    """
    trials: list[_Trial] = []
    for factor in _FACTORS:
        h = step * factor
        ahead, behind = change(h) / h, -change(-h) / h
        numeric, spread = (ahead + behind) / 2, noise / h
        difference, size = abs(numeric - symbolic), max(abs(numeric), abs(symbolic), typical)
        if size == 0.0:
            return Comparison(0.0, 0.0, 0.0, "ok")
        if not np.isfinite(difference):
            continue
        error = max(difference - spread, 0.0) / size
        trials.append(_Trial(factor, numeric, abs(ahead - behind) / size, error, spread / size))
        if error <= TOLERANCE and spread <= TOLERANCE * size and trials[-1].gap <= _GAP:
            return Comparison(numeric, symbolic, difference / size, "ok")
    return _judged(trials, symbolic)


def _judged(trials: list[_Trial], symbolic: float) -> Comparison:
    """The judgement where no step was plainly right."""
    if not trials:  # L is not finite on one side at least: an edge of where it is defined
        return Comparison(float("nan"), symbolic, float("inf"),
                          "kink" if np.isfinite(symbolic) else "wrong")  # fmt: skip
    sharp = [trial for trial in trials if trial.blur <= TOLERANCE]
    best = min(sharp or [min(trials, key=lambda t: t.blur)], key=lambda t: t.error)
    shrinking = sorted((t for t in sharp if t.factor <= 1), key=lambda t: t.factor)
    if len(shrinking) > 1:
        smallest, largest = shrinking[0], shrinking[-1]
        lasting = smallest.gap > max(_GAP, largest.gap / 4)
        if lasting and smallest.error <= 0.55 * smallest.gap + TOLERANCE:
            return Comparison(smallest.numeric, symbolic, smallest.error, "kink")
    judgement: Literal["ok", "wrong"] = "ok" if best.error <= TOLERANCE else "wrong"
    return Comparison(best.numeric, symbolic, best.error, judgement)
