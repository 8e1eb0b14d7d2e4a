"""Profiles a program of a device: the time of every launch, by events of the device itself."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from graphgrad.backends.cupy.launches import Action, Launch, Product, pointers_of
from graphgrad.backends.cupy.observation import action_seconds, nodes_of
from graphgrad.backends.cupy.program import DeviceProgramOfPlan
from graphgrad.errors import ConfigurationError
from graphgrad.performance.cost import flops_of
from graphgrad.performance.line_profile import LineTime, Profile

SHOWN = 3
"""Names of nodes of a launch that computes many."""


def profile_device(
    program: DeviceProgramOfPlan,
    state: Mapping[str, np.ndarray],
    feeds: Mapping[str, np.ndarray],
    steps: int = 5,
) -> Profile:
    """Times the actions of the program on a copy of the state; a line of the profile is an action,
    by its number in the program."""
    if steps < 1:
        raise ConfigurationError(f"a profile needs at least one step, not {steps}")
    seconds, whole = action_seconds(program, state, feeds, steps)
    actions = program.device_program.actions
    lines = tuple(
        _line(program, number, action, its)
        for number, (action, its) in enumerate(zip(actions, seconds, strict=True), 1)
    )
    begins = itertools.accumulate([0.0, *seconds])
    marks = tuple((number, int(1e9 * begin)) for number, begin in enumerate(begins, 1))
    return Profile(steps, whole, lines, marks)


def _line(program: DeviceProgramOfPlan, number: int, action: Action, seconds: float) -> LineTime:
    nodes = nodes_of(action)
    names = [program.graph.name_of(node) for node in nodes]
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    operation = action.kernel if isinstance(action, Launch) else action.node.operation.name
    size = sum(pointer.reach for pointer in pointers_of(action))
    flops = _flops_of(action) if isinstance(action, Product) else 0
    type_ = f"{len(nodes)} nodes" if len(nodes) > 1 else str(action.node.type)
    shown = f"{', '.join(names[:SHOWN])}{more}"
    origin = str(action.node.origin or "")
    return LineTime(shown, operation, type_, number, seconds, 1, size, flops, origin)


def _flops_of(product: Product) -> int:
    """The multiplications and additions of a product, without those of its epilogue."""
    gemm = product.gemm
    if gemm is None:
        return sum(map(flops_of, product.nodes))
    return 2 * gemm.rows * gemm.columns * gemm.inner * gemm.batch
