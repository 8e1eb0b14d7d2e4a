"""Every operation on the device: all samples, alone and in kernels, all kinds of views, and random
graphs of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from compare_ways import case_of
from cpu_device import Bound, needs_compiler
from delta_check import declare, feeds_of, has_deltas
from device_programs import device_of, device_program
from planned import plan_of
from random_graphs import assert_same_values
from views import declare_views

import graphgrad as gg
from graphgrad import Graph, Operation
from graphgrad.backends.cupy.backend import lower
from graphgrad.backends.cupy.launches import Computed, DeviceProgram
from graphgrad.graph import extent, iota
from graphgrad.ops import ALL_OPERATIONS
from graphgrad.ops.evaluate import evaluate

LEFT_TO_THE_ARRAY_MODULE = {
    *("mean", "variance", "logsumexp", "softmax", "log_softmax", "standardise", "cross_entropy"),
    *("half_squared_error", "iota", "extent"),
}
"""What the passes for a device replace; a graph that they have not seen is left to the array
module."""
OF_RANKS = {"share", "share_sums", *(each.name for each in ALL_OPERATIONS if each.collective)}
OF_RANKS |= {"rank_number"}
"""What only several ranks need: it is exchanged between devices, and no kernel of this package."""
SAMPLES = [
    (operation, number, dtype)
    for operation in ALL_OPERATIONS
    for number in range(len(operation.samples))
    for dtype in ["float32"]
]
VIEWED = [
    operation
    for operation in ALL_OPERATIONS
    if any(head.shape and 0 not in head.shape for head in operation.samples[0].heads)
]


def name_of(case: Any) -> str:
    return case.name if isinstance(case, Operation) else str(case)


def with_deltas(operation: Operation, number: int, dtype: str) -> Graph:
    """The value, and the deltas of all float heads from a cotangent of its own."""
    y, *heads = declare(operation, operation.samples[number], dtype)
    if not has_deltas(operation, number):
        return Graph({"y": y})
    seed = gg.input("seed", y.shape, y.dtype)
    floats = [head for head in heads if head.type.is_float]
    graph = gg.derive(Graph({"y": y}, names={"seed": seed}), y, floats, seed)
    deltas = {f"delta_{place}": graph.delta(head) for place, head in enumerate(floats)}
    return graph.with_outputs({"y": y, **deltas})


def feeds_for(graph: Graph, operation: Operation, number: int, dtype: str) -> dict[str, Any]:
    feeds = feeds_of(operation.samples[number], dtype)
    if "seed" in graph.inputs:
        its = graph.inputs["seed"]
        feeds["seed"] = np.random.default_rng(5).uniform(-1, 1, its.shape).astype(its.dtype)
    return feeds


@pytest.fixture(scope="module")
def programs() -> Mapping[Any, tuple[Graph, list[DeviceProgram]]]:
    """For each sample: the operation by itself, each operation of its value and deltas by itself,
    and the same in kernels."""
    found = {}
    for case in SAMPLES:
        graph = with_deltas(*case)
        alone = lower(plan_of(graph)), lower(plan_of(graph, fused=True))
        found[case] = graph, [*alone, device_program(graph)]
    return found


@pytest.fixture(scope="module")
def device(programs):
    return device_of(program for _, several in programs.values() for program in several)


@needs_compiler
@pytest.mark.parametrize("case", SAMPLES, ids=lambda case: "-".join(map(name_of, case)))
def test_a_sample_has_the_value_and_deltas_of_the_reference(programs, device, case):
    graph, several = programs[case]
    feeds = feeds_for(graph, *case)
    values = evaluate(graph, feeds)
    tolerance = 2e-6 if case[2] == "float32" else 1e-14
    for program in several:
        found = Bound(program, device).run(feeds)
        for name, node in graph.outputs.items():
            assert found[name].dtype == node.dtype and found[name].shape == node.shape
            np.testing.assert_allclose(found[name], values[node], tolerance, tolerance)
        left = {a.node.operation.name for a in program.actions if isinstance(a, Computed)}
        assert left <= LEFT_TO_THE_ARRAY_MODULE | OF_RANKS


def test_what_is_left_to_the_array_module_is_left(programs):
    left = {
        action.node.operation.name
        for _, several in programs.values()
        for program in several
        for action in program.actions
        if isinstance(action, Computed)
    }
    assert left == LEFT_TO_THE_ARRAY_MODULE | OF_RANKS
    assert {iota.name, extent.name} <= left


def test_behind_the_passes_for_a_device_everything_is_a_kernel(programs):
    """Or a product: so every program is captured as a whole."""
    for case, (_, several) in programs.items():
        left = {a.node.operation.name for a in several[-1].actions if isinstance(a, Computed)}
        assert left <= OF_RANKS, case


RANDOM = range(24)


@pytest.fixture(scope="module")
def grown():
    """Random graphs with deltas and updates, some of them fed with extreme values."""
    cases = {seed: case_of(seed)[0] for seed in RANDOM}
    return {seed: (case, device_program(case.graph)) for seed, case in cases.items()}


@pytest.fixture(scope="module")
def device_of_grown(grown):
    return device_of(program for _, program in grown.values())


@needs_compiler
@pytest.mark.parametrize("seed", RANDOM)
def test_a_random_graph_gives_the_values_and_states_of_the_reference(grown, device_of_grown, seed):
    case, program = grown[seed]
    bound = Bound(program, device_of_grown)
    found = bound.run({**case.feeds, **case.state}, seed=seed)
    names = [leaf.attributes["label"] for leaf in case.graph.updates]
    state = {f"next {name}": bound.state()[name] for name in names}
    with np.errstate(all="ignore"):
        assert_same_values(found | state, case.values())


@pytest.fixture(scope="module")
def viewed():
    """Every operation on every view of something computed, and of an input."""
    found = {}
    for operation in VIEWED:
        declared = declare_views(operation, operation.samples[0], "float64", ["computed", "input"])
        graph = Graph(declared.outputs)
        feeds = {name: its for name, its in declared.feeds.items() if name in graph.inputs}
        found[operation] = graph, device_program(graph), feeds
    return found


@pytest.fixture(scope="module")
def device_of_views(viewed):
    return device_of(program for _, program, _ in viewed.values())


@needs_compiler
@pytest.mark.parametrize("operation", VIEWED, ids=name_of)
def test_an_operation_reads_every_view(viewed, device_of_views, operation):
    graph, program, feeds = viewed[operation]
    found, values = Bound(program, device_of_views).run(feeds), evaluate(graph, feeds)
    for name, node in graph.outputs.items():
        scale = 1.0 + float(np.max(np.abs(values[node]), initial=0))
        np.testing.assert_allclose(found[name], values[node], 1e-9, 1e-9 * scale, err_msg=name)
