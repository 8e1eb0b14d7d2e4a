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
from graphgrad.plan import Plan

OVERRIDES: Mapping[Operation, Callable[..., Any]] = {}


def lower(plan: Plan) -> Program:
    """The program of a plan."""
    return Program(plan, print_program(plan, OVERRIDES))
