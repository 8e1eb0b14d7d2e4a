"""From a graph to programs: optimise, specialise, schedule, fuse, plan, lower. The whole pipeline
on one page.

    graph --PASSES--> optimised --specialise(sizes)--> --SPECIALISED_PASSES (, FUSING_PASSES)-->
    --make_schedule--> order and layouts --fuse--> groups --make_plan--> plan --lower--> Program

The passes run once for all sizes; what follows runs once for each set of concrete sizes, and its
program is kept, as long as not too many others are used more lately. All programs of a graph run in
one arena, as large as the largest of them needs (one more for each run that overlaps others).
"""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from graphgrad.backends import COMPILES, Program, Workspaces, lower, need_memory
from graphgrad.errors import (
    DeclarationError,
    EnvironmentLimitError,
    PassError,
    UnknownNameError,
)
from graphgrad.fusion import fuse as fuse_nodes
from graphgrad.fusion import without_fusion
from graphgrad.graph import Dimension, Graph, Node
from graphgrad.graph.arrays import given_array
from graphgrad.graph.collector import collector_rests
from graphgrad.graph.dimension import substitute
from graphgrad.graph.display import summary
from graphgrad.graph.html import mimebundle, picture, program_html
from graphgrad.graph.interface import Given, named_inputs
from graphgrad.graph.single import Single
from graphgrad.graph.types import shape_text
from graphgrad.graph.verify import need_graph
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import (
    FUSING_PASSES,
    PASSES,
    SPECIALISED_PASSES,
    Check,
    Pass,
    PassReport,
    free_dimensions,
    optimise,
    specialise,
)
from graphgrad.plan import make_plan
from graphgrad.schedule import make_schedule

Feeds = Mapping[str, np.ndarray]

CHOICES: tuple[str, ...] = tuple(dict.fromkeys([
    *(each.__name__ for each in (*PASSES, *SPECIALISED_PASSES, *FUSING_PASSES)),
    "fuse",  # kernels instead of one operation after another
    "outer",  # values made of rows and columns are made again rather than kept
    "orders",  # products are written in the order in which they are read
    "soon",  # the update of a parameter follows its delta
]))  # fmt: skip
"""What `compile(…, without=…)` can leave out, to see what it is worth or which one is guilty."""

PROGRAMS = 128
"""How many programs, each for one set of sizes, a compiled graph keeps unless told otherwise; one
takes some two kilobytes a node."""


class Compiled(Single):
    """A compiled graph: call it with the state and inputs of any size.

    `graph` is the optimised graph, `reports` say what each pass did, `program(batch=32)` is the
    program for these sizes with its `source`, `plan` and `peak_bytes`.
    """

    def __init__(
        self, source_graph: Graph, graph: Graph, guards: Sequence[str],
        reports: tuple[PassReport, ...], specialised_passes: Sequence[Pass], fuse: bool,
        check: Check | None = None, without: frozenset[str] = frozenset(),
        smallest_kernel: int | None = None,
        programs: int = PROGRAMS,
    ) -> None:  # fmt: skip
        self.source_graph, self.graph, self.reports = source_graph, graph, reports
        passes = (*specialised_passes, *FUSING_PASSES) if fuse else specialised_passes
        self._guards, self._passes = tuple(guards), _without(passes, without)
        self._check, self._without = check, without
        self._fuse, self._smallest_kernel = fuse, smallest_kernel
        self._dimensions = free_dimensions(graph)
        self._programs: dict[tuple[int, ...], Program] = {}  # the last used last
        self._limit, self._workspaces = programs, Workspaces()
        self._lock = threading.Lock()

    def __call__(
        self,
        state: Mapping[str, np.ndarray] | None = None,
        feeds: Given | None = None,
        /,
        **inputs: Any,
    ) -> dict[str, np.ndarray]:
        """Runs the program for the sizes of the inputs, compiling it the first time.

        Inputs are given by keyword, or in `feeds` by their full name ("encoder.x") or node.
        """
        inputs = named_inputs(self.graph.inputs, feeds or {}, inputs)
        sizes = sizes_of(self.graph, inputs)
        if any(name not in sizes for name in self._dimensions):
            raise self._unknown_sizes(sizes, inputs)
        if self.graph.updates and 0 in sizes.values():
            empty = next(name for name, size in sizes.items() if size == 0)
            raise DeclarationError(
                f"there is nothing to learn from: {empty!r} is 0 in the inputs",
                fix="leave empty batches out of the data",
            )
        return self.program(**sizes)(state, **inputs)

    def _unknown_sizes(
        self, sizes: Mapping[str, int], inputs: Mapping[str, Any]
    ) -> UnknownNameError:
        """What is said where the inputs do not show every size."""
        missing = [name for name in self.graph.inputs if name not in inputs]
        if missing:
            return UnknownNameError(
                f"the inputs do not fit the program: missing {', '.join(missing)}",
                fix=f"it takes {', '.join(self.graph.inputs)}",
            )
        unknown = [name for name in self._dimensions if name not in sizes]
        return UnknownNameError(
            f"no input shows the size of the dimension(s) {', '.join(unknown)}",
            fix=f"compiled.program({', '.join(f'{name}=…' for name in self._dimensions)})"
            "(state, …) runs the program for sizes of your own",
        )

    @collector_rests
    def program(self, /, **sizes: int) -> Program:
        """The program for these sizes of the named dimensions."""
        key = tuple(sizes.get(name, -1) for name in self._dimensions)
        with self._lock:
            program = self._programs.pop(key, None)
            if program is None:
                program = self._lowered(sizes)
                while len(self._programs) >= self._limit:
                    del self._programs[next(iter(self._programs))]
            self._programs[key] = program
            return program

    def _lowered(self, sizes: Mapping[str, int]) -> Program:
        try:
            graph, _ = optimise(specialise(self.graph, sizes), self._passes, self._check)
            guards = [graph.outputs[name] for name in self._guards]
            left_out = self._without
            schedule = make_schedule(
                graph, guards, "soon" not in left_out, "orders" not in left_out
            )
            if self._fuse:
                groups = fuse_nodes(schedule, "outer" not in left_out, self._smallest_kernel)
            else:
                groups = without_fusion(schedule)
            return lower(make_plan(schedule, groups), workspaces=self._workspaces)
        except MemoryError as problem:  # what depends on sizes alone is computed here
            listed = ", ".join(f"{name}={size}" for name, size in sizes.items())
            raise EnvironmentLimitError(
                f"there is not enough memory to compile the program for {listed or 'this graph'}: "
                f"{problem}",
                fix="a smaller batch, shorter inputs or a smaller model",
            ) from None

    @property
    def source(self) -> str:
        """The generated source of a graph without named dimensions."""
        return self.program().source

    def __repr__(self) -> str:
        sizes = f"open sizes {', '.join(self._dimensions)}; " if self._dimensions else ""
        return f"<compiled {summary(self.graph)}; {sizes}{len(self._programs)} programs so far>"

    def _html(self, drawn: str | None) -> str:
        count = f"{len(self.source_graph)} declared, {len(self.graph)} optimised"
        figures = [("nodes", count), ("open sizes", ", ".join(self._dimensions) or "none"),
                   ("programs so far", str(len(self._programs)))]  # fmt: skip
        passes = "\n".join(map(str, self.reports))
        return program_html("compiled graph", figures, {"passes": passes}, drawn)

    def _repr_html_(self) -> str:
        return self._html(picture(self))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return mimebundle(self, self._html, include, exclude)


@collector_rests
def compile(
    graph: Graph,
    fetch: str | Node | Iterable[str | Node] = (),
    guards: str | Sequence[str] = (),
    passes: Sequence[Pass] = PASSES,
    specialised_passes: Sequence[Pass] = SPECIALISED_PASSES,
    fuse: bool = False,
    debug: Feeds | None = None,
    state: Feeds | None = None,
    without: str | Iterable[str] = (),
    smallest_kernel: int | None = None,
    programs: int = PROGRAMS,
) -> Compiled:
    """Compiles a graph; nodes named by `fetch` are returned beside its outputs.

    `guards` are names of scalar outputs: where one is not finite, the run raises NonFiniteError and
    changes no state. `fuse` computes elementwise regions and row reductions by kernels that LLVM
    compiles (a fraction of a second for each new kernel, kept on disk): for programs that run many
    times. Without llvmlite it changes nothing. What has fewer elements than `smallest_kernel`
    (default: 4,096) stays NumPy's, which is as fast there; 1 makes a kernel of everything that can
    be one. `without` (a name or several) leaves out what it names of `CHOICES`: a pass, or one of
    the plan's ways to save time and memory. `debug` gives sample inputs (and `state` the state):
    then every output is computed before and after every pass, and a pass that changes one is named.

    Of the programs for different sizes the `programs` that were used last are kept; another one is
    compiled anew when its sizes come again, in less time, as its kernels are on disk.
    """
    need_graph(graph, "compile")
    if programs < 1:
        raise DeclarationError(f"programs is {programs}: nothing could run", fix="1 or more")
    outputs = dict(graph.outputs)
    for item in [fetch] if isinstance(fetch, str | Node) else fetch:
        node = graph[item]
        outputs[item if isinstance(item, str) else graph.name_of(node)] = node
    wanted = graph.with_outputs(outputs)
    guards = [guards] if isinstance(guards, str) else guards
    for name in guards:
        _need_guard(wanted, name)
    check = None
    if debug is not None:
        sizes = sizes_of(graph, debug)
        wanted = specialise(wanted, sizes)
        check = _ValueCheck(debug, state or {})
    left_out = frozenset([without] if isinstance(without, str) else without)
    for name in left_out.difference(CHOICES):
        raise UnknownNameError(f"there is no {name!r} to leave out", fix=f"one of {CHOICES}")
    optimised, reports = optimise(wanted, _without(passes, left_out), check)
    fuse = fuse and COMPILES and "fuse" not in left_out
    return Compiled(
        graph, optimised, guards, reports, specialised_passes, fuse, check, left_out,
        smallest_kernel, programs,
    )  # fmt: skip


def _without(passes: Sequence[Pass], names: Collection[str]) -> tuple[Pass, ...]:
    return tuple(each for each in passes if each.__name__ not in names)


def _need_guard(graph: Graph, name: str) -> None:
    if name not in graph.outputs:
        raise UnknownNameError(
            f"the guard {name!r} is no output", fix=f"outputs: {', '.join(graph.outputs)}"
        )
    node = graph.outputs[name]
    if node.shape != ():
        raise DeclarationError(
            f"the guard {name!r} is {node.type}; only a scalar guards",
            str(node.origin or ""),
            "sum it first",
        )


def sizes_of(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of the named dimensions, read off the shapes of the inputs."""
    sizes: dict[str, int] = {}
    open_sizes: list[tuple[str, Node, Dimension, int]] = []
    for name, node in graph.inputs.items():
        if name not in feeds:
            continue  # the program says which inputs are missing
        shape = given_array(f"input {name!r}", feeds[name]).shape
        if len(shape) != node.rank:
            raise DeclarationError(
                f"input {name!r} has shape {shape_text(shape)}, declared is {node.type}",
                str(node.origin or ""),
            )
        for declared, size in zip(node.shape, shape, strict=True):
            if not isinstance(declared, Dimension):
                continue
            if str(declared) not in declared.names:  # 2 * n: when all plain names are known
                open_sizes.append((name, node, declared, size))
                continue
            known = sizes.setdefault(str(declared), size)
            if known != size:
                raise DeclarationError(
                    f"the dimension '{declared}' is {known} in one input and {size} in {name!r}",
                    str(node.origin or ""),
                )
    for name, node, declared, size in open_sizes:
        _solve(name, node, substitute(declared, sizes), size, sizes)
    return sizes


def _solve(
    name: str, node: Node, declared: int | Dimension, size: int, sizes: dict[str, int]
) -> None:
    """Adds to `sizes` what follows of `declared` = `size` for the one name that is not known."""
    if isinstance(declared, Dimension):
        coefficients = dict(declared.terms)
        constant = coefficients.pop((), 0)
        (names, factor), *more = coefficients.items()
        if more or len(names) != 1:
            return  # two unknown names, or a square: another input may give them
        left, rest = divmod(size - constant, factor)
        if not rest and left >= 0:
            sizes[names[0]] = left
            return
    elif declared == size:
        return
    raise DeclarationError(
        f"input {name!r} has an axis of size {size}; declared is {node.type}"
        + (f", so {declared}" if str(declared) not in str(node.type) else ""),
        str(node.origin or ""),
    )


def initial_state(
    graph: Graph, seed: int = 0, given: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """The first value of every parameter and state of a graph, drawn from the seed.

    What is `given` by name is copied, not drawn: it must have the declared shape, and takes the
    declared dtype as an input does. A name that the graph lacks is an error.
    """
    need_graph(graph, "initial_state")
    known = _given_state(graph, given or {})
    size = sum(node.type.nbytes for node in graph.states.values())
    need_memory(size, f"the state of {len(graph.states)} arrays", "a smaller model")
    try:
        state = {name: known[name] if name in known else np.empty(node.type.sizes, node.dtype)
                 for name, node in graph.states.items()}  # fmt: skip
    except MemoryError as problem:
        raise EnvironmentLimitError(
            f"there is not enough memory for the state: {problem}", fix="a smaller model"
        ) from None

    def draw(names: Sequence[str]) -> None:
        for name in names:
            graph.states[name].attributes["initial"].draw_into(state[name], seed, name)

    missing = [name for name in state if name not in known]
    cores = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(cores) as threads:  # a value depends on its name and the seed alone
        list(threads.map(draw, [missing[place::cores] for place in range(cores)]))
    return state


def _given_state(graph: Graph, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Copies of what is given, each as the parameter or state of its name is declared."""
    found: dict[str, np.ndarray] = {}
    for name, value in given.items():
        if name not in graph.states:
            near = difflib.get_close_matches(name, graph.states, 3, 0.4)
            raise UnknownNameError(
                f"the graph has no parameter or state {name!r}",
                fix=f"did you mean {' or '.join(map(repr, near))}?" if near
                else f"it has {', '.join(graph.states) or 'none'}",
            )  # fmt: skip
        node = graph.states[name]
        array = given_array(f"the value of {name!r}", value, node.dtype)
        if array.shape != node.shape:
            raise DeclarationError(
                f"the value of {name!r} has shape {shape_text(array.shape)}, declared is "
                f"{node.type}",
                str(node.origin or ""),
            )
        found[name] = np.array(array, order="C")
    return found


class _ValueCheck:
    """Compares outputs and next states before and after a pass on sample inputs."""

    def __init__(self, feeds: Feeds, state: Feeds) -> None:
        self.feeds, self.state = feeds, state

    def __call__(self, name: str, before: Graph, after: Graph) -> None:
        old, new = (evaluate(graph, self.feeds, self.state) for graph in (before, after))
        pairs = [(key, before.outputs[key], after.outputs[key]) for key in before.outputs]
        pairs += [(before.name_of(leaf), node, after.updates[leaf])
                  for leaf, node in before.updates.items()]  # fmt: skip
        for label, a, b in pairs:
            tolerance = 1e-4 if a.dtype.itemsize == 4 else 1e-9
            if not np.allclose(old[a], new[b], tolerance, tolerance, equal_nan=True):
                with np.errstate(all="ignore"):
                    error = float(np.max(np.abs(np.subtract(old[a], new[b], dtype=float))))
                raise PassError(
                    f"pass {name!r} changes the value of {label!r} by up to {error:.3g}",
                    str(a.origin or ""),
                    f"leave {name!r} out of `passes` and look at the rules it applied",
                )
