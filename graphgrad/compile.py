"""Compiles a graph to programs: optimise, specialise, schedule, fuse, plan, lower.

    graph --PASSES--> optimised --specialise(sizes)--> --SPECIALISED_PASSES
          (, PRECISION_PASSES of mixed precision) (, FUSING_PASSES of kernels)-->
    --make_schedule--> order and layouts --fuse--> groups --make_plan--> plan --lower--> Program

The passes run once for all sizes; the stages after them run once for each set of concrete sizes.
The most recently used programs are kept. All programs of a graph share one arena, with the size of
the largest of them (and one more arena for each run that overlaps others).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphgrad.backends import (
    COMPILES,
    Backend,
    Prepared,
    Program,
    Rates,
    Started,
    backend_called,
    need_room,
    ran_out,
    resident,
)
from graphgrad.display import Displayed
from graphgrad.errors import DeclarationError, EnvironmentLimitError, UnknownNameError
from graphgrad.fusion import fuse as fuse_nodes
from graphgrad.fusion import without_fusion
from graphgrad.garbage import gc_paused
from graphgrad.graph import Graph, Node
from graphgrad.graph.interface import Feeds, Given, named_inputs
from graphgrad.graph.single import Single
from graphgrad.graph.text import summary
from graphgrad.graph.verify import need_graph
from graphgrad.memory import OutOfMemoryError
from graphgrad.options import PROGRAMS, Options
from graphgrad.passes import (
    PASSES,
    SPECIALISED_PASSES,
    Check,
    Pass,
    PassReport,
    ValueCheck,
    all_sizes_of,
    free_dimensions,
    need_no_float64,
    optimise,
    overlap,
    sizes_of,
    specialise,
)
from graphgrad.plan import Plan, make_overlapped_plan
from graphgrad.ranks import Communicator
from graphgrad.schedule import make_schedule


class Compiled(Single, Displayed):
    """A compiled graph: call it with the state and with inputs of any size.

    `graph` is the optimised graph, `reports` describe the effect of each pass, `program(batch=32)`
    is the program for these sizes with its `source`, `plan` and `peak_bytes`. `options` are those
    of the compilation, `open_sizes` the named dimensions, whose sizes are read from the inputs.

    >>> x = gg.input("x", ("batch", 2))
    >>> run = gg.compile(gg.Graph({"y": gg.sum(x, axis=1)}))
    >>> run(x=[[1, 2], [3, 4]])["y"]
    array([3., 7.], dtype=float32)
    """

    def __init__(
        self,
        source_graph: Graph,
        graph: Graph,
        guards: Sequence[str],
        reports: tuple[PassReport, ...],
        specialised_passes: Sequence[Pass],
        options: Options,
        backend: Backend,
        check: Check | None = None,
    ) -> None:
        self.source_graph, self.graph, self.reports = source_graph, graph, reports
        self.options, self.open_sizes = options, free_dimensions(graph)
        self._passes, self._rounding = options.passes_of_a_program(specialised_passes)
        self._guards, self._check = tuple(guards), check
        self._programs: dict[tuple[int, ...], Program] = {}  # the most recently used last
        self._backend, self._lock = backend, threading.Lock()

    def __call__(
        self,
        state: Mapping[str, np.ndarray] | None = None,
        feeds: Given | None = None,
        /,
        **inputs: Any,
    ) -> dict[str, np.ndarray]:
        """Runs the program for the sizes of the inputs; it is compiled on its first run.

        `state` holds the parameters and states by name (`initial_state`) and is updated in place.
        Inputs are passed by keyword, or in `feeds` by their full name ("encoder.x") or node.
        Returns the outputs by name. Raises UnknownNameError or DeclarationError for inputs or
        state that do not fit the graph, NonFiniteError if a guard is not finite (the state is then
        unchanged), and EnvironmentLimitError if there is not enough memory.
        """
        inputs = named_inputs(self.graph.inputs, feeds or {}, inputs)
        program, sizes = self._program_for({**resident(state, self.graph.inputs), **inputs})
        try:
            return program(state, **inputs)
        except OutOfMemoryError as problem:
            raise self._ran_out(problem, program.plan, sizes) from None

    def prepare(self, feeds: Given | None = None, /, **inputs: Any) -> Prepared:
        """Checks the inputs of a later run, and with `backend="cupy"` has them copied to the device
        while another run goes on. Their arrays must not change until that run has ended.

        >>> run = gg.compile(gg.Graph({"y": gg.tanh(gg.input("x", "n"))}))
        >>> started = run.start({}, run.prepare(x=[0.0, 0.0]))
        >>> started.results()["y"]
        array([0., 0.], dtype=float32)
        """
        named = named_inputs(self.graph.inputs, feeds or {}, inputs)
        program, sizes = self._program_for(named)
        try:
            return program.prepare(**named)
        except OutOfMemoryError as problem:
            raise self._ran_out(problem, program.plan, sizes) from None

    def start(self, state: Mapping[str, np.ndarray] | None, prepared: Prepared) -> Started:
        """Starts a run with prepared inputs; `results()` of what it returns waits for its end.

        On a device the inputs of the next run can be prepared meanwhile. Raises the errors of a
        call, some of them by `results()`.

        >>> graph = gg.sgd(gg.Graph({"loss": gg.parameter("w", (), 3.0) ** 2.0}), 0.5)
        >>> run, state = gg.compile(graph), gg.initial_state(graph)
        >>> float(run.start(state, run.prepare()).results()["loss"])
        9.0
        """
        try:
            return prepared.program.start(state, prepared)
        except OutOfMemoryError as problem:
            sizes = sizes_of(self.graph, prepared.inputs)
            raise self._ran_out(problem, prepared.program.plan, sizes) from None

    def _program_for(self, inputs: Mapping[str, Any]) -> tuple[Program, dict[str, int]]:
        """The program for the sizes of these inputs, and the sizes."""
        sizes = all_sizes_of(self.graph, self.open_sizes, inputs)
        if self.graph.updates and 0 in sizes.values():
            empty = next(name for name, size in sizes.items() if size == 0)
            raise DeclarationError(
                f"there is nothing to learn from: {empty!r} is 0 in the inputs",
                fix="leave empty batches out of the data",
            )
        return self.program(**sizes), sizes

    def _ran_out(
        self, problem: OutOfMemoryError, plan: Plan, sizes: Mapping[str, int]
    ) -> OutOfMemoryError:
        return ran_out(problem, self.graph, plan, sizes, self._backend, self._planned)

    @gc_paused
    def program(self, /, **sizes: int) -> Program:
        """The program for these sizes of the named dimensions.

        >>> x = gg.input("x", ("batch", 2))
        >>> gg.compile(gg.Graph({"y": gg.tanh(x)})).program(batch=3).peak_bytes
        64
        """
        key = tuple(sizes.get(name, -1) for name in self.open_sizes)
        with self._lock:
            program = self._programs.pop(key, None)
            if program is None:
                program = self._lowered(sizes)
                while len(self._programs) >= self.options.programs:
                    del self._programs[next(iter(self._programs))]
            self._programs[key] = program
            return program

    def on_device(self, state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Places the state where the programs need no copy of it.

        Returns the state itself, or with `backend="cupy"` a copy that is kept on the device; an
        array that a step has changed there is fetched when it is asked for by name.

        >>> graph = gg.sgd(gg.Graph({"loss": gg.parameter("w", (), 3.0) ** 2.0}), 0.5)
        >>> compiled = gg.compile(graph)
        >>> state = compiled.on_device(gg.initial_state(graph))
        >>> _ = compiled(state)
        >>> float(state["w"])
        0.0
        """
        return self._backend.placed(state)

    def _lowered(self, sizes: Mapping[str, int]) -> Program:
        try:
            plan = self._planned(sizes)
            need_room(self.graph, plan, sizes, self._backend, self._planned)
            return self._backend.lower(plan)
        except MemoryError as problem:  # values that depend on sizes only are computed here
            listed = ", ".join(f"{name}={size}" for name, size in sizes.items())
            raise EnvironmentLimitError(
                f"there is not enough memory to compile the program for {listed or 'this graph'}: "
                f"{problem}",
                fix="a smaller batch, shorter inputs or a smaller model",
            ) from None

    def _planned(self, sizes: Mapping[str, int]) -> Plan:
        options = self.options
        graph, _ = optimise(specialise(self.graph, sizes), self._passes, self._check)
        graph, _ = optimise(graph, self._rounding)
        graph, _ = optimise(graph, (overlap,) if options.overlap else ())
        guards = [graph.outputs[name] for name in self._guards]
        schedule = make_schedule(graph, guards, options)
        groups = fuse_nodes(schedule, options) if options.fuse else without_fusion(schedule)
        groups = self._backend.regrouped(schedule, groups, options)
        return make_overlapped_plan(schedule, groups)

    @property
    def source(self) -> str:
        """The generated source of the program of a graph without named dimensions.

        >>> print(gg.compile(gg.Graph({"y": gg.tanh(gg.input("x", 3), name="y")})).source)
        # 1 steps, arena 64 bytes, peak 64 bytes
        v1 = view(0, (3,), 'float32')
        <BLANKLINE>
        <BLANKLINE>
        def run(x0):
            np.tanh(x0, out=v1)                                         # y : float32[3]
            return (v1.copy(), )
        <BLANKLINE>
        """
        return self.program().source

    @property
    def notes(self) -> tuple[str, ...]:
        """What has been found of the backend's device by now that its user should know, such as
        kernels that failed a trial and are not used.

        >>> gg.compile(gg.Graph({"y": gg.tanh(gg.input("x", "n"))})).notes
        ()
        """
        return self._backend.notes

    @property
    def product_rates(self) -> Rates | None:
        """GFLOP/s of each class of products by our own kernels and by NumPy's BLAS, by which a
        program's products have been given to either; None as long as no program needed them.

        >>> gg.compile(gg.Graph({"y": gg.tanh(gg.input("x", "n"))})).product_rates is None
        True
        """
        return self._backend.rates

    @property
    def program_count(self) -> int:
        """The number of programs that are kept now.

        >>> run = gg.compile(gg.Graph({"y": gg.tanh(gg.input("x", "n"))}))
        >>> _ = run(x=[1, 2]), run(x=[1, 2, 3]), run(x=[3, 4])
        >>> run.program_count
        2
        """
        return len(self._programs)

    def __repr__(self) -> str:
        sizes = f"open sizes {', '.join(self.open_sizes)}; " if self.open_sizes else ""
        return f"<compiled {summary(self.graph)}; {sizes}{self.program_count} programs so far>"


@gc_paused
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
    backend: str = "numpy",
    smallest_attention: int | None = None,
    precision: str = "fp32",
    communicator: Communicator | None = None,
    product_rates: Rates | None = None,
) -> Compiled:
    """Compiles a graph. Returns an object to be called with the state and the inputs. Raises
    DeclarationError or UnknownNameError for arguments that do not fit the graph.

    - `fetch`: names or nodes whose values are returned besides the outputs.
    - `guards`: names of scalar outputs; if one is not finite, the run raises NonFiniteError and
      leaves the state unchanged.
    - `passes`, `specialised_passes`: the passes that run before and after specialisation.
    - `fuse`: compute elementwise regions and row reductions by kernels that LLVM compiles (a
      fraction of a second for each new kernel; they are stored on disk), for programs that run many
      times. Without llvmlite it has no effect.
    - `smallest_kernel`: the number of elements (default: 4,096) below which NumPy computes: it is
      as fast there. With 1 everything that can become a kernel does.
    - `without`: the name or names of passes to leave out, or of optimisations of time and memory:
      fuse, rematerialise, product_layouts, eager_updates, epilogues, overlap, products.
    - `debug`: sample inputs (and `state`, the state): every output is computed before and after
      every pass, and a pass that changes one raises PassError.
    - `programs`: how many programs for different sizes are kept, the most recently used ones.
    - `backend`: "numpy", or "cupy" for a CUDA device, where everything is fused that can be;
      `compiled.on_device(state)` is a state that stays there.
    - `precision`: what matrix products read: "fp32", "tf32", "bf16" or "fp16" (`graphgrad guide
      precision`). The casts are nodes of `compiled.program().graph`.
    - `smallest_attention`: the number of scores (queries · keys) of a head from which on attention
      is one operation in fused programs, unless its scores, weights or their deltas are asked for.
    - `communicator`: that of this rank, for a graph of `split_batch`.
    - `product_rates`: by which rates a fused program's products are given to our own kernels or to
      NumPy's BLAS: the `product_rates` of an earlier compilation, for results of the same bits.
      Default: those that were measured on this machine.

    >>> x, w = gg.input("x", ("batch", 2)), gg.parameter("w", (2, 1), 0.5)
    >>> run = gg.compile(gg.Graph({"y": x @ w}), fetch="x")
    >>> run(gg.initial_state(run.graph), x=[[1, 2]])
    {'y': array([[1.5]], dtype=float32), 'x': array([[1., 2.]], dtype=float32)}
    """
    need_graph(graph, "compile")
    options = Options(
        fuse=fuse and COMPILES,
        smallest_kernel=smallest_kernel,
        smallest_attention=smallest_attention,
        programs=programs,
        backend=backend,
        precision=precision,
    )
    need_no_float64(graph, precision)
    if backend == "cupy":
        options = replace(options, fuse=True, smallest_kernel=smallest_kernel or 1)
    options = options.without([without] if isinstance(without, str) else without)
    guards = [guards] if isinstance(guards, str) else guards
    wanted = _with_fetched(graph, [fetch] if isinstance(fetch, str | Node) else fetch)
    for name in guards:
        _need_guard(wanted, name)
    check = None
    if debug is not None:
        wanted = specialise(wanted, sizes_of(graph, debug))
        check = ValueCheck(debug, state or {})
    optimised, reports = optimise(wanted, options.remaining(passes), check)
    return Compiled(
        *(graph, optimised, guards, reports, specialised_passes, options),
        backend_called(options.backend, communicator, product_rates),
        check,
    )


def _with_fetched(graph: Graph, fetch: Iterable[str | Node]) -> Graph:
    """The graph with the fetched nodes among its outputs."""
    outputs = dict(graph.outputs)
    for item in fetch:
        node = graph[item]
        outputs[item if isinstance(item, str) else graph.name_of(node)] = node
    return graph.with_outputs(outputs)


def _need_guard(graph: Graph, name: str) -> None:
    if name not in graph.outputs:
        raise UnknownNameError(
            f"the guard {name!r} is not an output", fix=f"outputs: {', '.join(graph.outputs)}"
        )
    node = graph.outputs[name]
    if node.shape != ():
        raise DeclarationError(
            f"the guard {name!r} is {node.type}; a guard is a scalar", node.origin, "sum it first"
        )
