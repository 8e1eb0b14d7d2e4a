"""Whether a run computes what it should: its program before the first step, its state behind one.

The program that trains is made of kernels; the plain one computes one operation after another. Loss
and gradient norm of the first step are compared where that costs little, on a copy of the state, so
that the run is the same to the byte. Where they differ, the comparison with the reference engine
(`graphgrad check`) says by which node, or that it is rounding. A run whose program is wrong stops
before its first step: going on with the plain program would finish, but nobody would look for the
fault, and the other fused program of this run (that which records) would be no better founded.
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
"""What the comparison may cost unless it is asked for."""
FIGURES = ("loss", GRADIENT_NORM)
TOLERANCES = {4: 1e-4, 8: 1e-9}
"""Relative distances that are rounding, without asking the reference, by the bytes of the loss."""
_NODES, _ELEMENTS, _OPERATIONS = 2500.0, 4e8, 2e10
"""What is done in a second: nodes compiled, elements computed, operations of products."""


def verify_first_step(
    compiled: Compiled,
    feeds: Arrays,
    state: Arrays,
    always: bool = False,
) -> str:
    """What was found, in words, or "" where it would cost too much.

    Raises PassError where the program that trains is wrong.
    """
    graph = compiled.source_graph
    wanted = graph.with_outputs({name: graph.outputs[name] for name in FIGURES}, {})
    plain = compile(wanted, programs=1)
    sizes = sizes_of(graph, feeds)
    try:
        if not always and _seconds(compiled.program(**sizes).graph) > SECONDS:
            return ""
        expected = {name: float(value) for name, value in plain(state, **feeds).items()}
        found = _figures(compiled, feeds, state)
    except EnvironmentLimitError:  # the memory of two programs, where one may fit
        if always:
            raise
        return ""
    size = graph.outputs["loss"].dtype.itemsize
    if all(_near(found[name], expected[name], TOLERANCES[size]) for name in FIGURES):
        return "the first step has the loss and gradient norm of the plain program"
    listed = ", ".join(f"{name} {found[name]:.7g} and not {expected[name]:.7g}" for name in FIGURES)
    difference = compare_program(compiled, feeds, state).difference
    if difference is None:
        return f"the first step differs from the plain program by rounding: {listed}"
    raise PassError(
        f"the program that trains is wrong: its first step has {listed}, as the plain program has: "
        f"{difference}",
        difference.origin,
        "train with --set fuse=false, and report what graphgrad check says of this model",
    )


def _figures(compiled: Compiled, feeds: Arrays, state: Arrays) -> dict[str, float]:
    """Loss and gradient norm of the program that trains; NaN where its guards stop it."""
    copies = {name: state[name].copy() for name in compiled.graph.states}
    try:
        results = compiled(copies, **feeds)
    except NonFiniteError:
        return dict.fromkeys(FIGURES, float("nan"))
    return {name: float(results[name]) for name in FIGURES}


def _near(found: float, expected: float, tolerance: float) -> bool:
    """Two figures that are not finite are equal: the run will stop and say where."""
    if not np.isfinite(expected):
        return not np.isfinite(found)
    return abs(found - expected) <= tolerance * abs(expected)


def _seconds(graph: Graph) -> float:
    """About what compiling the plain program and running both takes."""
    flops = sum(map(flops_of, graph.nodes))
    elements = sum(math.prod(node.type.sizes) for node in graph.nodes)
    return len(graph) / _NODES + elements / _ELEMENTS + 2 * flops / _OPERATIONS


def overflown(state: Arrays, own: Collection[str]) -> tuple[str, str] | None:
    """The first state that an update has made useless, and what is wrong with it.

    A state of the model's `own` may be infinite (a least value so far, say), but not NaN.
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
