"""What acceptance.py checks of a device; the suite runs most of it on one that is a processor."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from acceptance import Row
from device_steps import GUARDS, feeds_of, initial, step_of

import graphgrad as gg
from graphgrad.backends.choice import DeviceBackend
from graphgrad.backends.cupy.binding import Binding, layout_of
from graphgrad.backends.cupy.input_ring import SLOTS
from graphgrad.backends.cupy.shared_memory import SharedMemory
from graphgrad.compile import Compiled
from graphgrad.errors import EnvironmentLimitError
from graphgrad.graph import Graph
from graphgrad.ops.evaluate import evaluate
from graphgrad.options import Options
from graphgrad.passes import PASSES, SPECIALISED_PASSES, optimise
from graphgrad.performance.bench_runner import batches_of
from graphgrad.performance.bench_worker import TIMING, Workload
from graphgrad.tools.peers import graphgrad_peer

SIZES = {"batch": 3, "source": 5, "target": 7}
MEASURED = Workload(256, 1024, 8, 3, 8000, 32, 32)
"""The step whose memory is measured."""
TABLES = 256 << 10
"""Bytes for the tables of a program, and for what rounds its blocks up."""


@cache
def memory_of(device: Any) -> SharedMemory:
    """What all programs on the device share."""
    return SharedMemory(device)


def compiled_for(
    device: Any, graph: Graph, guards: tuple[str, ...] = (), memory: SharedMemory | None = None
) -> Compiled:
    """The graph as `compile(graph, backend="cupy")` compiles it, for this very device."""
    options = Options(backend="cupy", fuse=True, smallest_kernel=1)
    optimised, reports = optimise(graph, PASSES)
    backend = DeviceBackend(memory or memory_of(device))
    return Compiled(graph, optimised, guards, reports, SPECIALISED_PASSES, options, backend)


@cache
def step_program(device: Any, dtype: str, number: int = 0) -> Compiled:
    """The step of the small Transformer; another `number` is the same step, compiled anew."""
    return compiled_for(device, step_of("transformer", dtype), GUARDS)


def trained(
    device: Any, dtype: str, steps: range, state: Any = None, number: int = 0
) -> tuple[Compiled, Any]:
    """The small Transformer, and its state on the device after some steps."""
    compiled = step_program(device, dtype, number)
    state = initial(step_of("transformer", dtype)) if state is None else state
    state = compiled.on_device(state)
    for step in steps:
        compiled(state, **feeds_of("transformer", step))
    return compiled, state


def distance(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    """The largest distance of two states, of the size of the larger numbers of an array."""
    return max(
        float(np.max(np.abs(found[name] - value), initial=0) / (1 + np.max(np.abs(value))))
        for name, value in wanted.items()
        if value.size
    )


def training_step(
    device: Any, steps: int = 5, dtypes: Sequence[str] = ("float32", "float64")
) -> Iterator[Row]:
    """Steps of the small Transformer beside the processor's."""
    for dtype in dtypes:
        limit = {"float32": 1e-4, "float64": 1e-9}[dtype]
        _, state = trained(device, dtype, range(steps))
        graph = step_of("transformer", dtype)
        wanted, on_cpu = initial(graph), gg.compile(graph, guards=GUARDS)
        for step in range(steps):
            on_cpu(wanted, **feeds_of("transformer", step))
        far = distance(state, wanted)
        yield Row("training step", f"{steps} steps, {dtype}, distance", f"{far:.2e}", far < limit)


def one_launch(device: Any) -> Iterator[Row]:
    """How a step is started, and how often the host waits for it."""
    compiled, state = trained(device, "float32", range(3))
    binding = binding_of(compiled, state)
    whole = device.captures_products and not binding.uncaptured
    yield Row("one launch", "launches a step", str(binding.launches), binding.launches == 1)
    if not whole:
        yield Row("one launch", "not captured", binding.uncaptured or "no cuBLAS", False)
    before = device.waits
    compiled(state, **feeds_of("transformer", 3))
    reads = device.waits - before
    yield Row("one launch", "reads of a step's results", str(reads), reads <= 2)


def binding_of(compiled: Compiled, state: Any) -> Binding:
    """The program of the small Transformer with its memory."""
    program: Any = compiled.program(**SIZES)
    binding: Binding = program.binding(state)
    return binding


def bytes_of(state: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in state.items()}


def bit_equal(device: Any, steps: int = 6) -> Iterator[Row]:
    """Two runs, each of a program of its own."""
    one, two = (bytes_of(trained(device, "float32", range(steps), number=n)[1]) for n in range(2))
    odd = [name for name in one if one[name] != two[name]]
    yield Row("bit-equal", "states that differ", ", ".join(odd[:3]) or "none", not odd)


def resume(device: Any, steps: int = 6) -> Iterator[Row]:
    """A run that goes on from what was fetched of it, in programs made anew."""
    whole = bytes_of(trained(device, "float32", range(steps))[1])
    _, half = trained(device, "float32", range(steps // 2))
    kept = {name: value.copy() for name, value in half.items()}
    found = bytes_of(trained(device, "float32", range(steps // 2, steps), kept, 2)[1])
    odd = [name for name in whole if whole[name] != found[name]]
    yield Row("resume", "states that differ", ", ".join(odd[:3]) or "none", not odd)


def guards(device: Any) -> Iterator[Row]:
    """A step with a loss that is not finite, or with a bad index, changes nothing."""
    compiled, state = trained(device, "float32", range(2))
    feeds = feeds_of("transformer", 2)
    before = bytes_of(state)
    bad = {name: value.copy() for name, value in feeds.items()}
    next(iter(bad.values()))[0, 0] = 10_000
    try:
        compiled(state, **bad)
    except gg.DataError:
        yield Row("guards", "a bad index", "is told", bytes_of(state) == before)
    else:
        yield Row("guards", "a bad index", "is not told", False)
    broken = {name: value.copy() for name, value in state.items()}
    name = next(name for name in step_of("transformer").parameters if name.endswith("w"))
    broken[name][...] = np.nan
    placed = compiled.on_device(broken)
    before = bytes_of(placed)
    try:
        compiled(placed, **feeds)
    except gg.NonFiniteError:
        yield Row("guards", "a loss that is not finite", "is told", bytes_of(placed) == before)
    else:
        yield Row("guards", "a loss that is not finite", "is not told", False)


def memory(device: Any, workload: Workload = MEASURED) -> Iterator[Row]:
    """What CuPy's pool has taken for a training step beside what was planned for it: the block, the
    constants and the state, and two slots for inputs. What else is there are tables of addresses
    and what rounds a block of the pool up. Later steps take nothing, and memory that is not there
    is refused."""
    pool = device.array_module.get_default_memory_pool()
    graph = graphgrad_peer.training_graph(workload, workload.dropout)
    batch = {
        name.removeprefix(TIMING): value
        for name, value in batches_of(workload).items()
        if name.startswith(TIMING)
    }
    gc.collect()
    before = pool.used_bytes()
    compiled = compiled_for(device, graph, memory=SharedMemory(device))
    state = compiled.on_device(gg.initial_state(graph, workload.seed))
    for _ in range(SLOTS):
        compiled(state, batch)
    sizes = {"batch": workload.batch, "source": workload.source, "target": workload.target}
    program: Any = compiled.program(**sizes)
    planned = program.peak_bytes + SLOTS * layout_of(program.device_program).input_bytes
    taken = pool.used_bytes() - before
    allowed = int(planned * 1.01) + TABLES
    yield Row("memory", "planned", f"{planned:,} bytes")
    yield Row("memory", "taken", f"{taken:,} bytes", planned <= taken <= allowed)
    for _ in range(4):
        compiled(state, batch)
    later = pool.used_bytes() - before - taken
    yield Row("memory", "taken by later steps", f"{later:,} bytes", later == 0)
    try:
        device.allocate(1 << 50)
    except EnvironmentLimitError as problem:
        yield Row("memory", "a petabyte is refused", problem.fix)
    else:
        yield Row("memory", "a petabyte", "is given", False)


def operations(device: Any) -> Iterator[Row]:
    """Every operation with its deltas, against the reference."""
    from test_cuda_operations import SAMPLES, feeds_for, with_deltas

    wrong, count = [], 0
    for case in SAMPLES:
        graph = with_deltas(*case)
        feeds = feeds_for(graph, *case)
        values = evaluate(graph, feeds)
        try:
            found = compiled_for(device, graph)({}, feeds)
            for name, node in graph.outputs.items():
                np.testing.assert_allclose(found[name], values[node], 2e-5, 2e-5)
        except Exception as problem:
            wrong.append(f"{case[0].name}: {' '.join(str(problem).split())[:80]}")
        count += 1
    yield Row("operations", f"wrong of {count}", "; ".join(wrong[:5]) or "none", not wrong)
