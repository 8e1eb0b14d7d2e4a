"""Checks a run: its program before the first step, and its state after a step.

The training program consists of kernels; the plain program computes one operation after another.
The loss and gradient norm of the first step are compared if that costs little, on a copy of the
state, so that the run does not change. If they differ, the comparison with the reference
(`graphgrad check`) finds the node at fault, or that the difference is rounding. A run whose program
is wrong stops before its first step: it could be completed with the plain program, but then nobody
would look for the fault, and the program that records figures, which is fused as well, could be
wrong, too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from graphgrad.checks.agreement import compare_program
from graphgrad.compile import Compiled, compile
from graphgrad.errors import EnvironmentLimitError, NonFiniteError, PassError
from graphgrad.graph import Graph
from graphgrad.passes import sizes_of
from graphgrad.performance.cost import flops_of
from graphgrad.training.optimisers import GRADIENT_NORM

Arrays = Mapping[str, np.ndarray]

SECONDS = 2.0
"""The most that the comparison may cost unless the user asks for it."""
FIGURES = ("loss", GRADIENT_NORM)
TOLERANCES = {4: 1e-4, 8: 1e-9}
"""Relative differences that count as rounding, by the bytes of the loss's dtype."""
OF_PRECISION = {"fp32": 0.0, "tf32": 3e-4, "fp16": 1e-3, "bf16": 5e-3}
"""Those of mixed precision: a float32 that differs in its last digit may be rounded to another
number of 16 bits."""
_NODES, _ELEMENTS, _OPERATIONS = 2500.0, 4e8, 2e10
"""Estimates per second: nodes compiled, elements computed, operations of matrix products."""


def verify_first_step(
    compiled: Compiled,
    feeds: Arrays,
    state: Arrays,
    always: bool = False,
) -> str:
    """The result as text, or "" if the comparison would cost too much.

    Raises PassError if the training program is wrong.
    """
    graph = compiled.source_graph
    wanted = graph.with_outputs({name: graph.outputs[name] for name in FIGURES}, {})
    precision = compiled.options.precision
    plain = compile(wanted, programs=1, precision=precision)
    sizes = sizes_of(graph, feeds)
    try:
        if not always and _seconds(compiled.program(**sizes).graph) > SECONDS:
            return ""
        expected = {name: float(value) for name, value in plain(state, **feeds).items()}
        found = _figures(compiled, feeds, state)
    except EnvironmentLimitError:  # two programs need more memory than one
        if always:
            raise
        return ""
    size = graph.outputs["loss"].dtype.itemsize
    tolerance = TOLERANCES[size] + OF_PRECISION[precision]
    if all(_near(found[name], expected[name], tolerance) for name in FIGURES):
        return "the first step has the loss and gradient norm of the plain program"
    listed = ", ".join(f"{name} {found[name]:.7g} and not {expected[name]:.7g}" for name in FIGURES)
    if compiled.options.backend != "numpy":
        raise PassError(
            f"the backend {compiled.options.backend} is wrong: its first step has {listed}, as the "
            "plain program has",
            fix="train with --backend numpy, and report this with the model",
        )
    difference = compare_program(compiled, feeds, state).difference
    if difference is None:
        return f"the first step differs from the plain program by rounding: {listed}"
    raise PassError(
        f"the program that trains is wrong: its first step has {listed}, as the plain program has: "
        f"{difference}",
        difference.origin,
        "train with --set fuse=false, and report the output of graphgrad check for this model",
    )


def _figures(compiled: Compiled, feeds: Arrays, state: Arrays) -> dict[str, float]:
    """Loss and gradient norm of the training program; NaN if its guards stop it."""
    copies = {name: state[name].copy() for name in compiled.graph.states}
    try:
        results = compiled(copies, **feeds)
    except NonFiniteError:
        return dict.fromkeys(FIGURES, float("nan"))
    return {name: float(results[name]) for name in FIGURES}


def _near(found: float, expected: float, tolerance: float) -> bool:
    """Whether two figures agree. Two that are not finite do: the run stops there in any case."""
    if not np.isfinite(expected):
        return not np.isfinite(found)
    return abs(found - expected) <= tolerance * abs(expected)


def _seconds(graph: Graph) -> float:
    """An estimate of the time to compile the plain program and to run both."""
    flops = sum(map(flops_of, graph.nodes))
    elements = sum(math.prod(node.type.sizes) for node in graph.nodes)
    return len(graph) / _NODES + elements / _ELEMENTS + 2 * flops / _OPERATIONS


def overflown(state: Arrays, own: Collection[str]) -> tuple[str, str] | None:
    """The first state that is not finite after an update, and a description of the problem.

    A state in `own`, of the model, may be infinite (the least value so far, say), but not NaN.
    """
    for name, array in state.items():
        if array.dtype.kind != "f":
            continue
        bad = np.isnan(array) if name in own else ~np.isfinite(array)
        if bad.any():
            return name, (
                f"the next value of {name!r} is not finite ({int(bad.sum())} of "
                f"{bad.size} elements)"
            )
    return None
