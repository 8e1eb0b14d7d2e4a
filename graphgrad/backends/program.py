"""A program: generated source, compiled to Python code, with memory to run in.

The state (parameters, the optimiser's moments, the step count) is a dictionary of arrays that the
caller owns; a run writes the next values to those arrays. A program stores no values between runs.
Each run borrows a workspace (an arena and the functions bound to it, see workspaces.py), so two
threads may call one program. The results of a run never share memory with the workspace or the
state.

An array that a run writes to never overlaps another that it reads: an input that overlaps a state
is copied, and states that overlap each other are refused.
"""

from __future__ import annotations

import builtins
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
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
"""The file name in a program's code, by which tracers of lines recognise it."""


class BoundCalls(Protocol):
    """The kernels of a program with the addresses of one workspace."""

    def run(self, begin: int, end: int, /) -> None:
        """Runs the rows of the call table from `begin` to before `end`."""

    def set_addresses(self, *arrays: np.ndarray) -> None:
        """Sets the addresses of the caller's arrays."""


class LinkedCalls(Protocol):
    """The compiled kernels of a program, which the backend provides."""

    @property
    def arena_bytes(self) -> int:
        """The bytes of an arena: those of the plan, and what the kernels need behind them."""

    def bind(self, arena: np.ndarray) -> BoundCalls:
        """The kernels with the addresses of an arena."""

    def llvm(self, text: str) -> str:
        """The LLVM text of a kernel."""

    def assembly(self, text: str) -> str:
        """The assembly of a kernel."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Inputs of one run, checked, and copied ahead to where they are read if that is elsewhere.
    Their arrays do not change until the run has ended."""

    program: Program
    inputs: Mapping[str, np.ndarray]


class Started:
    """A run that goes on, or is done."""

    def __init__(self, results: dict[str, np.ndarray]) -> None:
        self._results = results

    def results(self) -> dict[str, np.ndarray]:
        """The outputs by name, when the run is done. Raises its error if it failed."""
        return self._results


class Program(Single, Displayed, ABC):
    """A compiled graph for one set of sizes: `outputs = program(state, x=…, y=…)`.

    `source` is its text, `kernels` are the texts of its kernels by name, `line_of` is the line of a
    node in the source. The subclass of a backend runs it.
    """

    def __init__(
        self, plan: Plan, source: str, kernels: Mapping[str, str], lines: Mapping[Node, int]
    ) -> None:
        self.plan, self.source, self.kernels, self._lines = plan, source, kernels, lines
        self._inputs = tuple(
            (name, node.shape, node.dtype) for name, node in self.graph.inputs.items()
        )
        self._states = tuple(
            (name, node.shape, node.dtype) for name, node in self.graph.states.items()
        )
        self._updated = frozenset(map(leaf_name, self.graph.updates))

    @property
    def graph(self) -> Graph:
        """The graph that the program computes, after all passes."""
        return self.plan.graph

    @property
    def peak_bytes(self) -> int:
        """Bytes of memory during a run: arena, constants and state."""
        return self.plan.peak_bytes

    def __repr__(self) -> str:
        return (
            f"<program of {len(self.plan.steps)} steps for {summary(self.graph)}; "
            f"peak {self.peak_bytes:,} bytes>"
        )

    def line_of(self, node: Node) -> int | None:
        """The line of `source`, from 1, that computes the node; None if there is none."""
        return self._lines.get(node)

    @abstractmethod
    def __call__(
        self, state: Mapping[str, np.ndarray] | None = None, /, **inputs: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Runs the program once: updates the state in place and returns the outputs by name.

        `state` maps the name of each parameter and state to its array; `inputs` are the arrays of
        the graph's inputs by name. Raises `UnknownNameError` for names that are missing or not in
        the graph, `DeclarationError` for wrong shapes or dtypes, and `NonFiniteError`, before any
        state is written, if a guard is not finite.
        """

    def prepare(self, /, **inputs: ArrayLike) -> Prepared:
        """Checks the inputs of a run that is to come, and has them copied to where they are read,
        while another run goes on. Raises the errors of a call."""
        return Prepared(self, self._checked_inputs(inputs))

    def start(self, state: Mapping[str, np.ndarray] | None, prepared: Prepared) -> Started:
        """Starts a run with prepared inputs; the next one may be prepared before its results are
        asked for."""
        return Started(self(state, **prepared.inputs))

    def llvm(self, kernel: str) -> str:
        """The LLVM text of the kernel of this name."""
        raise _not_of_llvm(kernel)

    def assembly(self, kernel: str) -> str:
        """The assembly of the kernel of this name."""
        raise _not_of_llvm(kernel)

    def _checked_inputs(
        self, inputs: Mapping[str, ArrayLike], elsewhere: Collection[str] = ()
    ) -> dict[str, np.ndarray]:
        """The inputs as arrays, in order, but those that are `elsewhere`."""
        wanted = [each for each in self._inputs if each[0] not in elsewhere]
        if len(inputs) != len(wanted) or any(name not in inputs for name, _, _ in wanted):
            raise _wrong_names("inputs", [name for name, _, _ in wanted], inputs)
        arrays = {}
        for name, shape, dtype in wanted:
            array = given_array(f"input {name!r}", inputs[name])
            if array.shape != shape:
                raise DeclarationError(
                    f"input {name!r} has shape {shape_text(array.shape)}; this program is for "
                    f"{shape_text(shape)}"
                )
            array = given_array(f"input {name!r}", array, dtype)
            # a scalar is contiguous, but ascontiguousarray would add an axis
            arrays[name] = array if array.flags.c_contiguous else np.ascontiguousarray(array)
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
                    fix="to run without updates, compile graph.with_outputs(outputs, {}); to "
                    "update it, pass a copy",
                )
            if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
                raise DeclarationError(
                    f"state {name!r} is {array.dtype}{shape_text(array.shape)}; the graph declares "
                    f"{dtype}{shape_text(shape)}, contiguous",
                    fix="make it with initial_state(graph) or load a checkpoint of this model",
                )
            arrays.append(array)
        return arrays


class PythonProgram(Program):
    """A program of Python and compiled kernels.

    Programs that are given the same `workspaces` share memory. `settle` ends what a run has begun
    and would go on after an error.
    """

    def __init__(
        self,
        plan: Plan,
        source: Source,
        calls: LinkedCalls | None = None,
        workspaces: Workspaces | None = None,
        settle: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(plan, source.text, source.kernels, source.line_of)
        self._source, self._calls = source, calls
        self._arena_bytes = plan.arena_bytes if calls is None else calls.arena_bytes
        self._workspaces = workspaces or Workspaces()
        self._settle = settle
        self._code = builtins.compile(source.text, PROGRAM_FILE, "exec")
        self._ranges = StateRanges([name for name, _, _ in self._states], self._updated)

    def llvm(self, kernel: str) -> str:
        assert self._calls is not None, "there are no kernels"
        return self._calls.llvm(self.kernels[kernel])

    def assembly(self, kernel: str) -> str:
        assert self._calls is not None, "there are no kernels"
        return self._calls.assembly(self.kernels[kernel])

    def __call__(
        self, state: Mapping[str, np.ndarray] | None = None, /, **inputs: ArrayLike
    ) -> dict[str, np.ndarray]:
        arrays, states = self._checked_inputs(inputs), self._checked_state(state or {})
        arguments = [*self._ranges.without_overlap(list(arrays.values()), states), *states]
        workspace = self._workspaces.borrow(self._arena_bytes)
        try:
            run = workspace.runs.get(self)
            if run is None:
                run = workspace.runs[self] = self._bound(workspace)
            with np.errstate(all="ignore"):
                return dict(zip(self.graph.outputs, run(*arguments), strict=True))
        except BaseException:
            if self._settle is not None:
                self._settle()
            raise
        finally:
            self._workspaces.give_back(workspace)

    def _bound(self, workspace: Workspace) -> Run:
        """The program's function with the arena of a workspace."""
        arena = workspace.arena
        calls = self._calls.bind(arena) if self._calls is not None else None
        kernels = dict.fromkeys(self._source.kernels, calls.run) if calls else {}
        namespace: dict[str, object] = {
            "__builtins__": {"float": float},
            "np": np,
            "op": SimpleNamespace(**self._source.operations, **kernels),
            "set_addresses": calls.set_addresses if calls else None,
            "view": partial(_view, arena),
            "guard": partial(_guard, self.graph),
            "constants": self._source.constants,
        }
        # the generated text holds numbers and names of operations, nothing that a user wrote
        exec(self._code, namespace)
        # there are no reference cycles, so the arena is freed with its last user
        return cast(Run, namespace.pop("run"))


def _not_of_llvm(kernel: str) -> DeclarationError:
    return DeclarationError(f"{kernel} is no kernel of LLVM", fix="program.kernels has its text")


def _guard(graph: Graph, value: np.ndarray, position: int) -> None:
    if not math.isfinite(value.item()):
        node = graph.nodes[position]
        raise NonFiniteError(
            f"{graph.name_of(node)} is {value.item()}; no parameter was changed",
            node.origin,
        )


def _view(arena: np.ndarray, offset: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The array of this type at `offset` bytes in the arena."""
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
