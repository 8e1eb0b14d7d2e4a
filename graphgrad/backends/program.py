"""A program: the generated source, compiled, with memory to run in.

The state (parameters, the optimiser's moments, the step count) is a dictionary of arrays that the
caller owns; a run writes the next values into those arrays. A program keeps no values between runs.
Each run borrows a workspace (an arena and the functions bound to it, see workspaces.py), so two
threads may call one program. What a run returns is never memory of the workspace or of the state.

No array that a run writes to is any other array that it reads: an input that overlaps a state is
copied, and states that overlap each other are refused.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Collection, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from graphgrad.backends.overlap import StateRanges
from graphgrad.backends.source import Source
from graphgrad.backends.workspaces import Run, Workspace, Workspaces
from graphgrad.display import Displayed
from graphgrad.errors import DeclarationError, NonFiniteError, UnknownNameError
from graphgrad.graph import Graph, Node, leaf_name
from graphgrad.graph.arrays import given_array
from graphgrad.graph.single import Single
from graphgrad.graph.text import summary
from graphgrad.graph.types import shape_text
from graphgrad.plan import Plan

PROGRAM_FILE = "<graphgrad program>"
"""The file that a program's code gives as its own: those who trace lines know it by that."""


class BoundCalls(Protocol):
    """The kernels of a program over the memory of one workspace."""

    def run(self, begin: int, end: int, /) -> None:
        """Runs the calls from the first to before the second number."""

    def point(self, *arrays: np.ndarray) -> None:
        """Tells where the caller's arrays lie."""


class LinkedCalls(Protocol):
    """The compiled kernels of a program; an engine brings them."""

    def bind(self, arena: np.ndarray) -> BoundCalls:
        """The kernels over an arena."""

    def llvm(self, text: str) -> str:
        """A kernel as LLVM reads it."""

    def assembly(self, text: str) -> str:
        """A kernel in the processor's own language."""


class Program(Single, Displayed):
    """Call it with the state and the inputs: `outputs = program(state, x=…, y=…)`.

    `workspaces` are what it runs in, shared with other programs where they are given.
    """

    def __init__(
        self,
        plan: Plan,
        printed: Source,
        calls: LinkedCalls | None = None,
        workspaces: Workspaces | None = None,
    ) -> None:
        self.plan = plan
        self._printed, self._calls = printed, calls
        self._workspaces = workspaces or Workspaces()
        self._code = builtins.compile(printed.text, PROGRAM_FILE, "exec")
        self._inputs = tuple(
            (name, node.shape, node.dtype) for name, node in self.graph.inputs.items()
        )
        self._states = tuple(
            (name, node.shape, node.dtype) for name, node in self.graph.states.items()
        )
        self._updated = frozenset(map(leaf_name, self.graph.updates))
        self._ranges = StateRanges([name for name, _, _ in self._states], self._updated)

    @property
    def graph(self) -> Graph:
        """The graph that the program computes, after all passes."""
        return self.plan.graph

    @property
    def source(self) -> str:
        """The generated Python text."""
        return self._printed.text

    @property
    def kernels(self) -> Mapping[str, str]:
        """The text of every fused kernel, by the name that `source` calls it by."""
        return self._printed.kernels

    def llvm(self, kernel: str) -> str:
        """The kernel of this name as LLVM reads it."""
        assert self._calls is not None, "there are no kernels"
        return self._calls.llvm(self.kernels[kernel])

    def assembly(self, kernel: str) -> str:
        """The kernel of this name in the processor's own language."""
        assert self._calls is not None, "there are no kernels"
        return self._calls.assembly(self.kernels[kernel])

    @property
    def peak_bytes(self) -> int:
        """Bytes held while it runs: arena, constants and state."""
        return self.plan.peak_bytes

    def __repr__(self) -> str:
        return (
            f"<program of {len(self.plan.steps)} steps for {summary(self.graph)}; "
            f"peak {self.peak_bytes:,} bytes>"
        )

    def line_of(self, node: Node) -> int | None:
        """The line of `source` that computes the node."""
        return self._printed.line_of.get(node)

    def __call__(
        self, state: Mapping[str, np.ndarray] | None = None, /, **inputs: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Runs once: updates the state in place and returns the outputs by name."""
        arrays, states = self._checked_inputs(inputs), self._checked_state(state or {})
        arguments = [*self._ranges.apart(arrays, states), *states]
        workspace = self._workspaces.borrow(self.plan.arena_bytes)
        try:
            run = workspace.runs.get(self)
            if run is None:
                run = workspace.runs[self] = self._bound(workspace)
            with np.errstate(all="ignore"):
                results = run(*arguments)
        finally:
            self._workspaces.give_back(workspace)
        return dict(zip(self.graph.outputs, results, strict=True))

    def _bound(self, workspace: Workspace) -> Run:
        """The program's functions over the arena of a workspace."""
        arena = workspace.arena
        calls = self._calls.bind(arena) if self._calls is not None else None
        kernels = dict.fromkeys(self._printed.kernels, calls.run) if calls else {}
        namespace: dict[str, object] = {
            "__builtins__": {"float": float},
            "np": np,
            "op": SimpleNamespace(**self._printed.operations, **kernels),
            "point": calls.point if calls else None,
            "view": partial(_view, arena),
            "guard": partial(_guard, self.graph),
            "constants": self._printed.constants,
        }
        # the text is our own: numbers, names of operations, attributes that are numbers
        exec(self._code, namespace)
        # nothing here holds what holds it, so the arena is free with its last user
        return cast(Run, namespace.pop("run"))

    def _checked_inputs(self, inputs: Mapping[str, ArrayLike]) -> list[np.ndarray]:
        if len(inputs) != len(self._inputs) or any(n not in inputs for n, _, _ in self._inputs):
            raise _wrong_names("inputs", [n for n, _, _ in self._inputs], inputs)
        arrays = []
        for name, shape, dtype in self._inputs:
            array = given_array(f"input {name!r}", inputs[name])
            if array.shape != shape:
                raise DeclarationError(
                    f"input {name!r} has shape {shape_text(array.shape)}; this program is for "
                    f"{shape_text(shape)}"
                )
            array = given_array(f"input {name!r}", array, dtype)
            # a scalar is contiguous, and ascontiguousarray would give it an axis
            arrays.append(array if array.flags.c_contiguous else np.ascontiguousarray(array))
        return arrays

    def _checked_state(self, state: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        arrays = []
        for name, shape, dtype in self._states:
            if name not in state:
                raise _wrong_names("state", [n for n, _, _ in self._states], state)
            array = state[name]
            if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
                raise DeclarationError(f"state {name!r} is {type(array).__name__}, not an array")
            if name in self._updated and not array.flags.writeable:
                raise DeclarationError(
                    f"state {name!r} cannot be written to",
                    fix="to look without a change, compile graph.with_outputs(outputs, {}); to "
                    "change it, pass a copy",
                )
            if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
                raise DeclarationError(
                    f"state {name!r} is {array.dtype}{shape_text(array.shape)}; the graph declares "
                    f"{dtype}{shape_text(shape)}, contiguous",
                    fix="make it with initial_state(graph) or load a checkpoint of this model",
                )
            arrays.append(array)
        return arrays


def _guard(graph: Graph, value: np.ndarray, position: int) -> None:
    if not math.isfinite(value.item()):
        node = graph.nodes[position]
        raise NonFiniteError(
            f"{graph.name_of(node)} is {value.item()}; no parameter was changed",
            node.origin,
        )


def _view(arena: np.ndarray, offset: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of this type in the arena, from `offset` bytes on."""
    count = math.prod(shape)
    size = count * np.dtype(dtype).itemsize
    return arena[offset : offset + size].view(dtype).reshape(shape)


def _wrong_names(what: str, wanted: list[str], given: Collection[str]) -> UnknownNameError:
    missing = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]
    parts = ([f"missing {', '.join(missing)}"] if missing else []) + (
        [f"unknown {', '.join(unknown)}"] if unknown else []
    )
    return UnknownNameError(
        f"the {what} do not fit the program: {'; '.join(parts)}",
        fix=f"it takes {', '.join(wanted) or 'none'}",
    )
