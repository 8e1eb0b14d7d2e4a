"""Compares every value and delta that a compiled program computes with a reference, on one batch.

The values are recorded while the program runs (figures/watched_run.py) and compared twice:

- Step by step: each result with what the reference computes from the same heads. Rounding errors do
  not accumulate over one step, so a wrong kernel, a plan that overwrites a value, or a value that
  is read with a wrong layout is found at its step, however small its effect on the loss.
- By name: every value and delta with that of the declared graph, without any pass. This finds a
  pass that changes a value.

A difference is relative to the size of the array. One that the rounding of the reference in float32
explains does not count: float64 decides (reference.py).
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
    float64_value,
    float64_values,
    perturbed_value,
    perturbed_values,
)
from graphgrad.compile import Compiled
from graphgrad.figures.watched_run import WatchedRun
from graphgrad.graph import Graph, Node, leaf_name
from graphgrad.graph.types import FLOAT32, epsilon_of
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import mixed_precision, sizes_of, specialise
from graphgrad.plan import Step

Arrays = Mapping[str, np.ndarray]

ROUNDINGS = 64
"""Units in the last place by which an element may differ from the reference."""
PERTURBATIONS = 3
"""How many times the heads are perturbed to measure rounding."""
SLACK = 32.0
"""The allowed error of an element, as a multiple of how far perturbed heads move it: a long sum is
rounded at every term."""
AS_A_WHOLE = {4: 1e-3, 8: 1e-7}
"""The relative distance of whole arrays that accumulated rounding may cause, by bytes per
element."""
OF_PRECISION = {"fp32": 0.0, "tf32": 3e-3, "fp16": 3e-3, "bf16": 2e-2}
"""Those of mixed precision: a float32 that differs in its last digits may be rounded to another
number of 16 bits, here and in the reference."""
_AMPLIFIED = 10.0
_FLOAT32 = epsilon_of(FLOAT32)


@dataclass(frozen=True, slots=True)
class Difference:
    """One element of a value that differs between the program and the reference.

    `step` is the kernel or operation that computed it, empty if a pass changed the value. `error`
    is relative to the largest element.
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
        """Plain values for JSON, numbers that are not finite as None."""
        values = {**asdict(self), "index": list(self.index)}
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in values.items()
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """The result of a comparison.

    `steps` of the program (`kernels` of them) and `values` by name were compared; the other `nodes`
    of the graph are inside kernels or were removed. `difference` is the first one, None if all
    values agree.
    """

    steps: int
    kernels: int
    values: int
    nodes: int
    seconds: float
    difference: Difference | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = self.difference.to_dict() if self.difference else None
        return {**asdict(self), "seconds": round(self.seconds, 3), "difference": found}


def compare_program(compiled: Compiled, feeds: Arrays, state: Arrays) -> Agreement:
    """Compares the program of a compiled graph with the reference, on one batch.

    The state is not changed. If a guard ends the run, the values up to there are compared; if they
    agree, raises the NonFiniteError of the guard.
    """
    started = time.perf_counter()
    sizes = sizes_of(compiled.source_graph, feeds)
    program = compiled.program(**sizes)
    watched = WatchedRun(program, state, feeds)
    difference = next(_step_differences(watched), None)
    precision = compiled.options.precision
    declared = mixed_precision(specialise(compiled.source_graph, sizes), precision)
    names = _common_names(declared, watched)
    if difference is None:
        slack = OF_PRECISION[precision]
        difference = _first_by_name(declared, names, watched, feeds, state, slack)
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


def _step_differences(watched: WatchedRun) -> Iterator[Difference]:
    """Yields every result that differs from the reference on the step's own heads, in order."""
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
        wide = float64_value(node, known)
        moved = np.zeros(wide.shape)
        with np.errstate(all="ignore"):
            for seed in range(PERTURBATIONS):
                np.fmax(moved, np.abs(perturbed_value(node, known, seed) - wide), out=moved)
            lost = np.abs(np.asarray(expected, np.float64) - wide)  # the reference's own rounding
        lost = lost[np.isfinite(lost)]
        own = float(np.sqrt(np.mean(lost * lost))) if lost.size else 0.0
        bad &= ~_close(actual, wide, _unit(node), SLACK * moved + _AMPLIFIED * own)
    if bad.any():
        name = program.graph.name_of(node)
        yield _difference(name, node, step, actual, expected, bad)


def _unit(node: Node) -> float:
    """One unit in the last place of a float at 1; 0 for types that are compared exactly."""
    return epsilon_of(node.dtype) if node.type.is_float else 0.0


def _close(
    actual: np.ndarray, expected: np.ndarray, unit: float, slack: np.ndarray | float = 0.0
) -> np.ndarray:
    """Which elements are equal up to rounding."""
    if unit == 0.0 or np.array_equal(actual, expected):
        return np.asarray(actual == expected)
    a, e = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    with np.errstate(all="ignore"):
        same = (a == e) | (np.isnan(a) & np.isnan(e))
        # what is rounded to 16 bits was computed with more digits: it is one step away at most
        once = unit > _FLOAT32
        allowed = unit * (np.abs(e) if once else ROUNDINGS * np.abs(e) + 4 * _size(e)) + slack
        return np.asarray(same | (np.abs(a - e) <= np.where(np.isfinite(allowed), allowed, 0.0)))


def _size(array: np.ndarray) -> float:
    """The largest finite absolute value."""
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 0.0


# ---------------------------------------------------------------- by name, as a whole


def _common_names(declared: Graph, watched: WatchedRun) -> list[str]:
    """The shown names of the declared graph whose values the program computes, in its order."""
    names = []
    for node in declared.nodes:
        name = declared.name_of(node)
        own = watched.program.graph.names.get(name)
        if own is not None and own in watched.values and own.type == node.type and node.heads:
            names.append(name)
    return names


def _first_by_name(
    declared: Graph,
    names: Sequence[str],
    watched: WatchedRun,
    feeds: Arrays,
    state: Arrays,
    slack: float,
) -> Difference | None:
    """The first value that differs from the declared graph by more than rounding explains."""
    expected = evaluate(declared, feeds, state)
    wide: dict[Node, np.ndarray] = {}
    perturbed: dict[Node, np.ndarray] = {}
    for name in names:
        node = declared.names[name]
        actual, right = watched.values[watched.program.graph.names[name]], expected[node]
        whole = AS_A_WHOLE.get(node.dtype.itemsize, 0.0)
        allowed = max(whole, slack) if node.type.is_float else 0.0
        if _distance(actual, right) <= allowed:
            continue
        wide = wide or float64_values(declared, expected)
        perturbed = perturbed or perturbed_values(declared, wide)
        # the program may have rounding errors as large as those of the reference
        rounding = max(_distance(right, wide[node]), _distance(perturbed[node], wide[node]))
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
    """The bad element with the largest error."""
    a, e = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    with np.errstate(all="ignore"):
        gap = np.where(bad, np.nan_to_num(np.abs(a - e), nan=np.inf, posinf=np.inf), -1.0)
    index = tuple(map(int, np.unravel_index(int(np.argmax(gap)), gap.shape)))
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
