"""From a graph to programs: optimise, specialise, plan, lower. The whole pipeline on one page.

    graph --PASSES--> optimised --specialise(sizes)--> --SPECIALISED_PASSES--> plan --> Program
                                                       (--FUSING_PASSES--> regions)

The passes run once for all sizes; what follows runs once for each set of concrete sizes, and its
program is kept.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from graphgrad.backends import COMPILES, Program, lower
from graphgrad.errors import DeclarationError, PassError, UnknownNameError
from graphgrad.graph import Dimension, Graph, Node
from graphgrad.graph.collector import collector_rests
from graphgrad.graph.html import mimebundle, picture, program_html
from graphgrad.graph.types import shape_text
from graphgrad.kernels.fuse import fused
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
from graphgrad.plan import make_plan, one_by_one

Feeds = Mapping[str, np.ndarray]

CHOICES: tuple[str, ...] = tuple(dict.fromkeys([
    *(each.__name__ for each in (*PASSES, *SPECIALISED_PASSES, *FUSING_PASSES)),
    "fuse",  # kernels instead of one operation after another
    "outer",  # values made of rows and columns are made again rather than kept
    "orders",  # products are written in the order in which they are read
    "soon",  # the update of a parameter follows its delta
]))  # fmt: skip
"""What `compile(…, without=…)` can leave out, to see what it is worth or which one is guilty."""


class Compiled:
    """A compiled graph: call it with the state and inputs of any size.

    `graph` is the optimised graph, `reports` say what each pass did, `program(batch=32)` is the
    program for these sizes with its `source`, `plan` and `peak_bytes`.
    """

    def __init__(
        self, source_graph: Graph, graph: Graph, guards: Sequence[str],
        reports: tuple[PassReport, ...], specialised_passes: Sequence[Pass], fuse: bool,
        check: Check | None = None, without: frozenset[str] = frozenset(),
        smallest_kernel: int | None = None,
    ) -> None:  # fmt: skip
        self.source_graph, self.graph, self.reports = source_graph, graph, reports
        passes = (*specialised_passes, *FUSING_PASSES) if fuse else specialised_passes
        self._guards, self._passes = tuple(guards), _without(passes, without)
        self._check, self._without = check, without
        kernels = partial(fused, without=without, smallest=smallest_kernel)
        self._grouping = kernels if fuse else one_by_one
        self._dimensions = free_dimensions(graph)
        self._programs: dict[tuple[int, ...], Program] = {}
        self._lock = threading.Lock()

    def __call__(
        self, state: Mapping[str, np.ndarray] | None = None, /, **inputs: Any
    ) -> dict[str, np.ndarray]:
        """Runs the program for the sizes of the inputs, compiling it the first time."""
        sizes = sizes_of(self.graph, inputs)
        if self.graph.updates and 0 in sizes.values():
            empty = next(name for name, size in sizes.items() if size == 0)
            raise DeclarationError(
                f"there is nothing to learn from: {empty!r} is 0 in the inputs",
                fix="leave empty batches out of the data",
            )
        return self.program(**sizes)(state, **inputs)

    @collector_rests
    def program(self, **sizes: int) -> Program:
        """The program for these sizes of the named dimensions."""
        key = tuple(sizes.get(name, -1) for name in self._dimensions)
        with self._lock:
            if key not in self._programs:
                graph, _ = optimise(specialise(self.graph, sizes), self._passes, self._check)
                guards = [graph.outputs[name] for name in self._guards]
                plan = make_plan(graph, guards, self._grouping, self._without)
                self._programs[key] = lower(plan)
            return self._programs[key]

    @property
    def source(self) -> str:
        """The generated source of a graph without named dimensions."""
        return self.program().source

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
    without: Iterable[str] = (),
    smallest_kernel: int | None = None,
) -> Compiled:
    """Compiles a graph; nodes named by `fetch` are returned beside its outputs.

    `guards` are names of scalar outputs: where one is not finite, the run raises NonFiniteError and
    changes no state. `fuse` computes elementwise regions and row reductions by kernels that LLVM
    compiles (a fraction of a second for each new kernel, kept on disk): for programs that run many
    times. Without llvmlite it changes nothing. What has fewer elements than `smallest_kernel`
    (default: 4,096) stays NumPy's, which is as fast there; 1 makes a kernel of everything that can
    be one. `without` leaves out what it names of `CHOICES`: a
    pass, or one of the plan's ways to save time and memory. `debug` gives sample inputs (and
    `state` the state): then every output is computed before and after every pass, and a pass that
    changes one is named.
    """
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
    left_out = frozenset(without)
    for name in left_out.difference(CHOICES):
        raise UnknownNameError(f"there is no {name!r} to leave out", fix=f"one of {CHOICES}")
    optimised, reports = optimise(wanted, _without(passes, left_out), check)
    fuse = fuse and COMPILES and "fuse" not in left_out
    return Compiled(
        graph, optimised, guards, reports, specialised_passes, fuse, check, left_out,
        smallest_kernel,
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
    for name, node in graph.inputs.items():
        if name not in feeds:
            continue  # the program says which inputs are missing
        shape = np.shape(feeds[name])
        if len(shape) != node.rank:
            raise DeclarationError(
                f"input {name!r} has shape {shape_text(shape)}, declared is {node.type}",
                str(node.origin or ""),
            )
        for declared, size in zip(node.shape, shape, strict=True):
            if not isinstance(declared, Dimension) or len(declared.terms) != 1:
                continue
            ((names, coefficient),) = declared.terms
            if len(names) != 1 or coefficient != 1:
                continue
            known = sizes.setdefault(names[0], size)
            if known != size:
                raise DeclarationError(
                    f"the dimension {names[0]!r} is {known} in one input and {size} in {name!r}",
                    str(node.origin or ""),
                )
    return sizes


def initial_state(graph: Graph, seed: int = 0, given: Feeds | None = None) -> dict[str, np.ndarray]:
    """The first value of every parameter and state of a graph, drawn from the seed.

    What is `given` by name is taken as it is, not drawn.
    """
    known = given or {}
    state = {name: known[name] if name in known else np.empty(node.type.sizes, node.dtype)
             for name, node in graph.states.items()}  # fmt: skip

    def draw(names: Sequence[str]) -> None:
        for name in names:
            graph.states[name].attributes["initial"].draw_into(state[name], seed, name)

    missing = [name for name in state if name not in known]
    cores = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(cores) as threads:  # a value depends on its name and the seed alone
        list(threads.map(draw, [missing[place::cores] for place in range(cores)]))
    return state


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
