"""Profiles a program: seconds, bytes and GFLOP/s of every line, node and operation.

A program is one function with one line for each step. Python's line events are the clock: between
two of them one line has run. So the program itself is timed, with its own order and memory. The
events cost about a microsecond a line; `whole_seconds` is the time of a step without them.

Times are medians over the steps, line by line. A line that computes no node (a guard, a copy of a
next value into the state, the outputs) is listed under the name of the function that it calls.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import FrameType
from typing import Any

import numpy as np

from graphgrad.backends import PROGRAM_FILE, Program
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Node
from graphgrad.performance.cost import bytes_of, flops_of

WARM_STEPS = 2

Arrays = Mapping[str, np.ndarray]
Mark = tuple[int, int]
"""A line number and the time at which the line began, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class LineTime:
    """The time of one line of a program, which usually computes a node.

    `bytes` are the least that it reads and writes, `flops` those of matrix products; both are 0 if
    they are not counted. `origin` is the line of the user's code that declared the node.
    """

    name: str
    operation: str
    type: str
    line: int
    seconds: float
    calls: int
    bytes: int
    flops: int
    origin: str

    @property
    def gflops(self) -> float:
        """10⁹ floating-point operations a second."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "gflops": round(self.gflops, 3)}


@dataclass(frozen=True, slots=True)
class OperationTime:
    """The time of all lines of one operation together."""

    operation: str
    calls: int
    seconds: float
    bytes: int
    flops: int

    @property
    def gflops(self) -> float:
        """10⁹ floating-point operations a second."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "gflops": round(self.gflops, 3)}


@dataclass(frozen=True)
class Profile:
    """The measurements over `steps` steps; seconds are those of one step."""

    steps: int
    whole_seconds: float
    """The time of a step without line events, including the checks of the inputs."""
    lines: tuple[LineTime, ...]
    """In the order of the program."""
    marks: tuple[Mark, ...]
    """The times at which each line of the last step began, and at which the last one ended."""

    @property
    def seconds(self) -> float:
        """The sum over all lines."""
        return sum(line.seconds for line in self.lines)

    @property
    def operations(self) -> tuple[OperationTime, ...]:
        """The lines by operation, the longest first."""
        groups: dict[str, list[LineTime]] = {}
        for line in self.lines:
            groups.setdefault(line.operation, []).append(line)
        found = [
            OperationTime(
                operation,
                sum(each.calls for each in group),
                sum(each.seconds for each in group),
                sum(each.bytes for each in group),
                sum(each.flops for each in group),
            )
            for operation, group in groups.items()
        ]
        return tuple(sorted(found, key=lambda each: -each.seconds))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "steps": self.steps,
            "whole_seconds": self.whole_seconds,
            "seconds": self.seconds,
            "operations": [each.to_dict() for each in self.operations],
            "nodes": [each.to_dict() for each in self.lines],
        }


def profile(
    program: Program,
    state: Arrays,
    inputs: Callable[[int], Arrays],
    steps: int = 5,
    seen: Callable[[Sequence[Mark]], None] = lambda marks: None,
) -> Profile:
    """Times the program on a copy of the state; `inputs(number)` are the inputs of a step. `seen`
    is called with the marks of each timed step. The program runs `runs_of(steps)` times."""
    if steps < 1:
        raise ConfigurationError(f"a profile needs at least one step, not {steps}")
    state = {name: array.copy() for name, array in state.items()}
    clock, whole, timed = _LineClock(), [], []
    for number in range(WARM_STEPS):
        program(state, **inputs(number))
    for number in range(WARM_STEPS, WARM_STEPS + 2 * steps, 2):
        feeds = inputs(number)  # alternating, so that other load of the machine affects both
        started = time.perf_counter()
        program(state, **feeds)
        whole.append(time.perf_counter() - started)
        with clock:
            program(state, **inputs(number + 1))
        timed.append(clock.marks)
        seen(clock.marks)
    sums = [_sums(marks) for marks in timed]
    names = _Lines(program)
    lines = tuple(
        names.line_time(line, statistics.median(each[line][0] for each in sums) / 1e9, calls)
        for line, (_, calls) in sums[-1].items()
    )
    return Profile(steps, statistics.median(whole), lines, tuple(timed[-1]))


def runs_of(steps: int) -> int:
    """How often a program runs for a profile of so many steps."""
    return WARM_STEPS + 2 * steps


def chrome_trace(found: Profile) -> dict[str, Any]:
    """The last step as a trace for chrome://tracing and ui.perfetto.dev."""
    by_line = {line.line: line for line in found.lines}
    zero = found.marks[0][1]
    events: list[dict[str, Any]] = []
    for (line, begin), (_, end) in itertools.pairwise(found.marks):
        entry = by_line[line]
        shown = {
            "operation": entry.operation,
            "type": entry.type,
            "bytes": entry.bytes,
            "flops": entry.flops,
            "origin": entry.origin,
            "line": line,
        }
        events.append(
            {
                "name": entry.name,
                "cat": entry.operation,
                "ph": "X",
                "pid": 1,
                "tid": 1,
                "ts": (begin - zero) / 1e3,
                "dur": (end - begin) / 1e3,
                "args": shown,
            }
        )
    return {"traceEvents": events, "displayTimeUnit": "ms"}


class _LineClock:
    """Records the time at which each line of a program begins, in this thread and context."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def __enter__(self) -> None:
        self.marks = []
        self._before = sys.gettrace()
        sys.settrace(self._call)

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._line if frame.f_code.co_filename == PROGRAM_FILE else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        self.marks.append((frame.f_lineno, time.perf_counter_ns()))
        return self._line


def _sums(marks: list[Mark]) -> dict[int, tuple[int, int]]:
    """Nanoseconds and calls of each line. The last mark is the return, where no line begins."""
    sums: dict[int, tuple[int, int]] = {}
    for (line, begin), (_, end) in itertools.pairwise(marks):
        spent, calls = sums.get(line, (0, 0))
        sums[line] = (spent + end - begin, calls + 1)
    return sums


class _Lines:
    """Describes the lines of a program: their nodes, kernels and calls."""

    def __init__(self, program: Program) -> None:
        self.graph, self.text = program.graph, program.source.splitlines()
        self.node_of: dict[int, Node] = {}
        self.fused = {
            program.line_of(step.node): step.group
            for step in program.plan.steps
            if step.group.is_kernel
        }
        for node in self.graph.nodes:
            line = program.line_of(node)
            if line is not None:
                self.node_of[line] = node

    def line_time(self, line: int, seconds: float, calls: int) -> LineTime:
        node = self.node_of.get(line)
        if node is None:
            call, _, comment = self.text[line - 1].partition("  # ")
            operation = call.strip().partition("(")[0].strip().rpartition(".")[2]
            name, _, type_ = comment.strip().rpartition(" : ")
            shown = f"{operation} {name}".strip()
            return LineTime(shown, operation, type_, line, seconds, calls, 0, 0, "")
        group = self.fused.get(line)
        if group is not None:  # a kernel reads its inputs and writes its outputs only
            kernel = self.text[line - 1].partition("(")[0].rpartition(".")[2]
            names = ", ".join(self.graph.name_of(output) for output in group.outputs)
            size = sum(each.type.nbytes for each in (*group.inputs, *group.outputs))
            return LineTime(
                names,
                kernel,
                f"{len(group.nodes)} nodes",
                line,
                seconds,
                calls,
                calls * size,
                calls * sum(map(flops_of, group.nodes)),
                str(node.origin or ""),
            )
        return LineTime(
            self.graph.name_of(node),
            node.operation.name,
            str(node.type),
            line,
            seconds,
            calls,
            calls * bytes_of(node),
            calls * flops_of(node),
            str(node.origin or ""),
        )
