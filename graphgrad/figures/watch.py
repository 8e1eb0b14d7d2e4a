"""The values of a program as it runs: of each step its results, copied right behind its line.

What is watched is the program itself, its own code, kernels and memory, and not a copy made for
looking: Python's line events say when a line has run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import numpy as np

from graphgrad.backends import PROGRAM_FILE, Program
from graphgrad.errors import NonFiniteError
from graphgrad.graph import Node, constant, leaf_name
from graphgrad.memory import need_memory

Arrays = Mapping[str, np.ndarray]


class Watched:
    """One run of a program, on a copy of the state.

    `values` are those of constants, inputs, states before the run, and of all that steps compute;
    `results` what it returned, `state` the states behind it. `stopped` is the error of a guard, if
    one ended it: then what came later has no value.
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
        self._behind: dict[int, list[Node]] = {}
        for step in program.plan.steps:
            line = program.line_of(step.node)
            assert line is not None, "every step has a line"
            self._behind.setdefault(line, []).extend(step.group.outputs)
        self._line = 0
        self._run(feeds)

    def _run(self, feeds: Arrays) -> None:
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            self.results = self.program(self.state, **feeds)
        except NonFiniteError as error:
            self.stopped = error
        finally:
            sys.settrace(before)

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        known = frame.f_code.co_filename == PROGRAM_FILE and frame.f_code.co_name == "run"
        return self._event if known else None

    def _event(self, frame: FrameType, event: str, argument: object) -> Any:
        nodes = self._behind.get(self._line, ()) if event in ("line", "return") else ()
        for node in nodes:
            self.values[node] = self._lying(node, frame.f_globals["view"]).copy()
        self._line = frame.f_lineno
        return self._event

    def _lying(self, node: Node, view: Callable[..., np.ndarray]) -> np.ndarray:
        """The array of a value that was computed, where the plan has put it."""
        plan = self.program.plan
        place = plan.places[node]
        if place.kind == "state":
            return self.state[leaf_name(place.root)]
        order = plan.layouts.orders.get(node) or tuple(range(node.rank))
        sizes = tuple(node.type.sizes[axis] for axis in order)
        back = tuple(order.index(axis) for axis in range(node.rank))
        return view(place.offset, sizes, str(node.dtype)).transpose(back)
