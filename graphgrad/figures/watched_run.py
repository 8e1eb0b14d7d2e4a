"""Runs a program and copies the result of each step right after its line has run.

The program runs with its own code, kernels and memory; Python's line events report when a line has
run. A program of a device runs launch by launch, and each result is fetched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import numpy as np

from graphgrad.backends import PROGRAM_FILE, Program
from graphgrad.backends.cupy.observation import observe
from graphgrad.backends.cupy.program import DeviceProgramOfPlan
from graphgrad.errors import NonFiniteError
from graphgrad.graph import Node, constant, leaf_name
from graphgrad.memory import need_memory

Arrays = Mapping[str, np.ndarray]


class WatchedRun:
    """One run of a program, on a copy of the state.

    `values` holds the constants, the inputs, the states before the run and the results of all
    steps; `results` the outputs of the program, `state` the states after the run. `stopped` is the
    error of the guard that ended the run, if one did: later steps then have no value.
    """

    def __init__(self, program: Program, state: Arrays, feeds: Arrays) -> None:
        self.program = program
        graph = program.graph
        self.state = {name: state[name].copy() for name in graph.states}
        stored = [node for step in program.plan.steps for node in step.group.outputs]
        size = sum(node.type.nbytes for node in stored)
        need_memory(size, "a copy of every value of the program", "look at a smaller batch")
        self.values: dict[Node, np.ndarray] = {
            **{
                node: node.attributes["value"].array
                for node in graph.nodes
                if node.operation is constant
            },
            **{node: np.asarray(feeds[name], node.dtype) for name, node in graph.inputs.items()},
            **{node: state[name].copy() for name, node in graph.states.items()},
        }
        self.results: dict[str, np.ndarray] = {}
        self.stopped: NonFiniteError | None = None
        self._computed_by: dict[int, list[Node]] = {}
        self._line = 0
        try:
            if isinstance(program, DeviceProgramOfPlan):
                self.results = observe(program, self.state, feeds, self.values.__setitem__)
            else:
                self.results = self._traced(feeds)
        except NonFiniteError as error:
            self.stopped = error

    def _traced(self, feeds: Arrays) -> dict[str, np.ndarray]:
        for step in self.program.plan.steps:
            line = self.program.line_of(step.node)
            assert line is not None, "every step has a line"
            self._computed_by.setdefault(line, []).extend(step.group.outputs)
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            return self.program(self.state, **feeds)
        finally:
            sys.settrace(before)

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        known = frame.f_code.co_filename == PROGRAM_FILE and frame.f_code.co_name == "run"
        return self._event if known else None

    def _event(self, frame: FrameType, event: str, argument: object) -> Any:
        nodes = self._computed_by.get(self._line, ()) if event in ("line", "return") else ()
        for node in nodes:
            self.values[node] = self._array_of(node, frame.f_globals["view"]).copy()
        self._line = frame.f_lineno
        return self._event

    def _array_of(self, node: Node, view: Callable[..., np.ndarray]) -> np.ndarray:
        """The array of a value that was computed, at the place that the plan gives it."""
        plan = self.program.plan
        place = plan.places[node]
        if place.kind == "state":
            return self.state[leaf_name(place.root)]
        order = plan.layouts.orders.get(node) or tuple(range(node.rank))
        sizes = tuple(node.type.sizes[axis] for axis in order)
        back = tuple(order.index(axis) for axis in range(node.rank))
        return view(place.offset, sizes, str(node.dtype)).transpose(back)
