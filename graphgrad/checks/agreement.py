"""Does the program that trains compute what the graph says? Every value and delta, one batch.

The program is watched as it runs (watch.py), and compared with the reference engine twice:

- Every step for itself: what it computes of the values that it was given. Rounding does not add up
  over such a distance, so a wrong kernel, a plan that lets a value be overwritten, or a value read
  as it does not lie is found at the step that is to blame, however small its effect on the loss.
- As a whole: every value and delta by its name, against the graph as it was declared, without any
  pass. So a pass that changes a value is found too.

A difference is measured relative to the size of the array. One that the reference engine's own
rounding in float32 can explain is none: float64 arbitrates (reference.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from graphgrad.backends import Program
from graphgrad.checks.reference import (
    expected_value,
    shaken_value,
    shaken_values,
    wide_value,
    wide_values,
)
from graphgrad.compile import Compiled
from graphgrad.figures.watch import Watched
from graphgrad.graph import Graph, Node, leaf_name
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import sizes_of, specialise
from graphgrad.plan import Step

Arrays = Mapping[str, np.ndarray]

ROUNDINGS = 64
"""Units in the last place by which an element may differ from the reference's."""
SHAKES = 3
"""How often the heads are shaken where rounding has to be measured."""
SLACK = 32.0
"""How often as far as shaking moved it an element may be off: a long sum rounds at every term."""
AS_A_WHOLE = {4: 1e-3, 8: 1e-7}
"""The relative distance of whole arrays that many roundings one after another may lead to, by the
bytes of an element."""
_AMPLIFIED = 10.0


@dataclass(frozen=True, slots=True)
class Difference:
    """One element of a value: what the program has there, and what the reference.

    `step` is the kernel or operation that computed it; empty where the passes are to blame.
    `error` is relative to the largest element.
    """

    node: str
    operation: str
    type: str
    step: str
    index: tuple[int, ...]
    program: float
    reference: float
    error: float
    origin: str

    def __str__(self) -> str:
        element = f" at {list(self.index)}" if self.index else ""
        by = f"computed by {self.step}" if self.step else "after the passes"
        return (
            f"{self.node}, {self.operation} : {self.type}, {by}, is {self.program:.7g}"
            f"{element} in the program and {self.reference:.7g} by the reference"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON's own types, numbers that are not finite as None."""
        values = {**asdict(self), "index": list(self.index)}
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in values.items()
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was compared: steps of the program (kernels among them), and `values` by name out of
    `nodes` of the graph; the other nodes lie inside kernels or were removed. `difference` is the
    first one, None where there is none."""

    steps: int
    kernels: int
    values: int
    nodes: int
    seconds: float
    difference: Difference | None

    def to_dict(self) -> dict[str, Any]:
        """JSON's own types."""
        found = self.difference.to_dict() if self.difference else None
        return {**asdict(self), "seconds": round(self.seconds, 3), "difference": found}


def compare_program(compiled: Compiled, feeds: Arrays, state: Arrays) -> Agreement:
    """Compares the program that a graph was compiled to with the reference, on one batch.

    The state is not changed. Where a guard ends the run, what was computed by then is compared;
    NonFiniteError, as the run itself would raise it, where that is right.
    """
    started = time.perf_counter()
    sizes = sizes_of(compiled.source_graph, feeds)
    program = compiled.program(**sizes)
    watched = Watched(program, state, feeds)
    difference = next(_step_differences(watched), None)
    declared = specialise(compiled.source_graph, sizes)
    names = _common_names(declared, watched)
    if difference is None:
        difference = _first_by_name(declared, names, watched, feeds, state)
    if difference is None and watched.stopped is not None:
        raise watched.stopped
    kernels = sum(step.group.nest is not None for step in program.plan.steps)
    return Agreement(
        len(program.plan.steps),
        kernels,
        len(names),
        len(declared),
        time.perf_counter() - started,
        difference,
    )


# ---------------------------------------------------------------- step by step


def _step_differences(watched: Watched) -> Iterator[Difference]:
    """Every result that the step's own heads do not give, in the order of the program."""
    program, known = watched.program, watched.values
    for step in program.plan.steps:
        for node in step.group.outputs:
            if node in known:  # else a guard had ended the run
                yield from _compared(program, node, known, known[node], _step_text(program, step))
    if watched.stopped is not None:
        return
    for leaf, node in program.graph.updates.items():
        after = watched.state[leaf_name(leaf)]
        yield from _compared(program, node, known, after, f"the update of {leaf_name(leaf)}")
    for name, node in program.graph.outputs.items():
        yield from _compared(program, node, known, watched.results[name], f"the output {name}")


def _step_text(program: Program, step: Step) -> str:
    line = program.line_of(step.node)
    text = program.source.splitlines()[line - 1] if line else ""
    return text.strip().partition("(")[0].removeprefix("op.") or step.node.operation.name


def _compared(
    program: Program, node: Node, known: Mapping[Node, np.ndarray], actual: np.ndarray, step: str
) -> Iterator[Difference]:
    expected = expected_value(node, known)
    bad = ~_close(actual, expected, _unit(node))
    if bad.any() and node.heads and node.type.is_float:
        wide = wide_value(node, known)
        moved = np.zeros(wide.shape)
        with np.errstate(all="ignore"):
            for seed in range(SHAKES):
                np.fmax(moved, np.abs(shaken_value(node, known, seed) - wide), out=moved)
            lost = np.abs(np.asarray(expected, np.float64) - wide)  # the reference's own rounding
        lost = lost[np.isfinite(lost)]
        own = float(np.sqrt(np.mean(lost * lost))) if lost.size else 0.0
        bad &= ~_close(actual, wide, _unit(node), SLACK * moved + _AMPLIFIED * own)
    if bad.any():
        name = program.graph.name_of(node)
        yield _difference(name, node, step, actual, expected, bad)


def _unit(node: Node) -> float:
    """One unit in the last place of a float at 1; 0 for what is compared exactly."""
    return float(np.finfo(node.dtype).eps) if node.type.is_float else 0.0


def _close(
    actual: np.ndarray, expected: np.ndarray, unit: float, slack: np.ndarray | float = 0.0
) -> np.ndarray:
    """Which elements are as they should be, as nearly as rounding lets them."""
    if unit == 0.0 or np.array_equal(actual, expected):
        return np.asarray(actual == expected)
    a, e = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    with np.errstate(all="ignore"):
        same = (a == e) | (np.isnan(a) & np.isnan(e))
        allowed = unit * (ROUNDINGS * np.abs(e) + 4 * _size(e)) + slack
        return np.asarray(same | (np.abs(a - e) <= np.where(np.isfinite(allowed), allowed, 0.0)))


def _size(array: np.ndarray) -> float:
    """The largest finite absolute value."""
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 0.0


# ---------------------------------------------------------------- by name, as a whole


def _common_names(declared: Graph, watched: Watched) -> list[str]:
    """The shown names of the declared graph whose values the program holds, in its order."""
    names = []
    for node in declared.nodes:
        name = declared.name_of(node)
        own = watched.program.graph.names.get(name)
        if own is not None and own in watched.values and own.type == node.type and node.heads:
            names.append(name)
    return names


def _first_by_name(
    declared: Graph, names: Sequence[str], watched: Watched, feeds: Arrays, state: Arrays
) -> Difference | None:
    """The first value that is not the declared graph's, beyond what rounding explains."""
    expected = evaluate(declared, feeds, state)
    wide: dict[Node, np.ndarray] = {}
    shaken: dict[Node, np.ndarray] = {}
    for name in names:
        node = declared.names[name]
        actual, right = watched.values[watched.program.graph.names[name]], expected[node]
        allowed = AS_A_WHOLE[node.dtype.itemsize] if node.type.is_float else 0.0
        if _distance(actual, right) <= allowed:
            continue
        wide = wide or wide_values(declared, expected)
        shaken = shaken or shaken_values(declared, wide)
        # what the reference itself loses by rounding, the program may lose too
        rounding = max(_distance(right, wide[node]), _distance(shaken[node], wide[node]))
        if _distance(actual, wide[node]) <= allowed + _AMPLIFIED * rounding:
            continue
        bad = ~_close(actual, right, 1e-30)
        return _difference(name, node, "", actual, right, bad)
    return None


def _distance(actual: np.ndarray, right: np.ndarray) -> float:
    """‖actual - right‖ / ‖right‖ over the finite elements; infinite where others differ."""
    a, r = np.asarray(actual, np.float64), np.asarray(right, np.float64)
    finite = np.isfinite(r)
    if not np.array_equal(np.isfinite(a), finite):
        return float("inf")
    gap = float(np.linalg.norm(a[finite] - r[finite]))
    return gap / max(float(np.linalg.norm(r[finite])), 1e-300) if gap else 0.0


def _difference(
    name: str, node: Node, step: str, actual: np.ndarray, expected: np.ndarray, bad: np.ndarray
) -> Difference:
    """The element of those that are bad which is farthest off."""
    a, e = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    with np.errstate(all="ignore"):
        gap = np.where(bad, np.nan_to_num(np.abs(a - e), nan=np.inf, posinf=np.inf), -1.0)
    place = np.unravel_index(int(np.argmax(gap)), gap.shape)
    index = tuple(int(each) for each in place)
    return Difference(
        node=name,
        operation=node.operation.name,
        type=str(node.type),
        step=step,
        index=index,
        program=float(a[index]),
        reference=float(e[index]),
        error=float(gap[index]) / max(_size(e), 1e-300),
        origin=str(node.origin or ""),
    )
