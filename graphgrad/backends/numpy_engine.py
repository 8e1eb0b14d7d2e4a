"""The NumPy engine: every operation's own computation, and compiled kernels where they win.

An engine is a table of overrides; an operation without one is computed as its block says. Numba is
optional: without it the same program runs, with dropout masks made by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphgrad.backends.program import Program
from graphgrad.backends.source import print_program
from graphgrad.graph import Operation
from graphgrad.ops.random import DROPOUT_MASK
from graphgrad.plan import Plan

try:
    from graphgrad.kernels import philox_compiled
except ImportError:  # without Numba NumPy makes the masks: the same bits, more slowly
    philox_compiled = None  # type: ignore[assignment]


def _dropout_mask(
    out: Any, seed: Any, step: Any, shape: Any, rate: float, stream: int, dtype: Any
) -> None:
    philox_compiled.fill_dropout_mask(out, int(seed), int(step), stream, rate)


OVERRIDES: Mapping[Operation, Callable[..., Any]] = (
    {} if philox_compiled is None else {DROPOUT_MASK: _dropout_mask}
)
"""What this engine computes better than the operation's own block."""


def lower(plan: Plan) -> Program:
    """The program of a plan."""
    return Program(plan, print_program(plan, OVERRIDES))
