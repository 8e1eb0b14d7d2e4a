"""Loop nests as kernels: every way in which rows and columns are shared out among threads."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cpu_device import Bound, needs_compiler
from device_programs import device_of, device_program
from planned import plan_of

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends.cupy.geometry import BLOCK, LARGEST_GROUP, WIDTH, geometry_of
from graphgrad.backends.cupy.launches import Computed, Launch
from graphgrad.backends.cupy.nest_text import print_nest
from graphgrad.fusion import LoopNest
from graphgrad.ops.evaluate import evaluate
from graphgrad.philox import fill_dropout_mask

SIZES = [
    *((1, 1), (3, 1), (1, 2), (5, 3), (2, 4), (9, 8), (7, 31), (3, 32), (4, 33), (2, 100)),
    *((300, 5), (40, 128), (3, 129), (2, 1000), (1, 1024), (6, 1030), (2, 5000)),
]
"""Rows and columns: less than a warp and more, of one block and of several, with and without a
rest."""


def row_work(rows: int, columns: int, dtype: str = "float64") -> Graph:
    """Softmax, standardisation and a cross-entropy with their deltas: row sums and maxima, sums
    over rows, of everything, and numbers once a row."""
    x = gg.input("x", (rows, columns), dtype)
    row, column = gg.input("row", (columns,), dtype), gg.input("column", (rows, 1), dtype)
    targets = gg.input("targets", (rows,), "int32")
    y = gg.standardise(x * row + column, name="y")
    weights = gg.softmax(y * 2.0 - row, name="weights")
    losses = gg.cross_entropy(gg.tanh(x) - row, targets, smoothing=0.1, ignored=0)
    loss = gg.sum(losses) + gg.sum(weights * weights * x)
    extremes = {"largest": gg.max(x, 1), "least": gg.min(x)}
    outputs = {"y": y, "weights": weights, "loss": loss, **extremes}
    graph = gg.derive(Graph(outputs), loss, [x, row, column])
    deltas = {f"delta_{its}": graph.delta(its) for its in ("x", "row", "column")}
    return graph.with_outputs({**outputs, **deltas})


def drawn(graph: Graph, seed: int = 0) -> dict[str, Any]:
    """Values for the inputs of a graph."""
    generator = np.random.default_rng(seed)
    feeds: dict[str, Any] = {}
    for name, its in graph.inputs.items():
        if its.type.is_float:
            feeds[name] = generator.normal(size=its.shape).astype(its.dtype)
        else:
            feeds[name] = generator.integers(0, graph.inputs["x"].shape[1], its.shape, "int32")
    return feeds


def long_sums() -> Graph:
    x, z = gg.input("x", (2, 700_001)), gg.input("z", (700, 1000))
    return Graph({"rows": gg.sum(x, 1), "all": gg.sum(z * 1.5), "columns": gg.sum(z * 1.5, 0)})


MASKED = list(itertools.product([(7, 13), (3, 5, 16), (1, 1), (40, 129)], ["float32", "float64"]))


def masked(shape: tuple[int, ...], dtype: str) -> Graph:
    """A mask in a kernel with its own numbers, and one alone."""
    seed, step = gg.state("seed", (), dtype="int64"), gg.state("step", (), dtype="int64")
    first, second = (
        gg.dropout_mask(seed, step, shape, rate, stream, dtype)
        for stream, rate in enumerate((0.1, 0.5))
    )
    return Graph({"inside": gg.absolute(gg.input("x", shape, dtype)) * first, "alone": second})


@pytest.fixture(scope="module")
def programs():
    """By what they are for."""
    return {
        **{size: device_program(row_work(*size)) for size in SIZES},
        **{case: device_program(masked(*case)) for case in MASKED},
        "long": device_program(long_sums()),
        "float32": device_program(row_work(40, 128, "float32")),
    }


@pytest.fixture(scope="module")
def device(programs):
    return device_of(programs.values())


def assert_as_evaluated(graph: Graph, found: Any, feeds: Any, tolerance: float) -> None:
    values = evaluate(graph, feeds)
    for name, node in graph.outputs.items():
        scale = 1.0 + float(np.max(np.abs(values[node]), initial=0))
        np.testing.assert_allclose(
            found[name], values[node], tolerance, tolerance * scale, err_msg=name
        )


@needs_compiler
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rows_of_every_length(programs, device, size):
    program, graph = programs[size], row_work(*size)
    feeds = drawn(graph)
    bound = Bound(program, device)
    found = bound.run(feeds, seed=1)
    assert not any(isinstance(action, Computed) for action in program.actions)
    assert_as_evaluated(graph, found, feeds, 1e-9)
    again = bound.run(feeds, seed=2)
    for name, its in found.items():  # whatever the order of threads
        np.testing.assert_array_equal(again[name], its)


def test_the_sizes_make_groups_of_every_kind(programs):
    blocks = {
        action.block
        for program in programs.values()
        for action in program.actions
        if isinstance(action, Launch)
    }
    texts = [text for program in programs.values() for text in program.kernels.values()]
    powers = [2**n for n in range(11)]
    groups = {n for n in powers if any(f"over_group<{n}>" in text for text in texts)}
    assert groups >= {1, 2, 8, 32, 64, 256} and blocks >= {64, 256}
    widths = {width for width in (1, WIDTH) if any(f", {width}> x" in text for text in texts)}
    assert widths == {1, WIDTH}


@needs_compiler
def test_float32_is_as_near_as_rounding_allows(programs, device):
    graph = row_work(40, 128, "float32")
    feeds = drawn(graph)
    assert_as_evaluated(graph, Bound(programs["float32"], device).run(feeds), feeds, 2e-5)


@needs_compiler
def test_long_sums_keep_their_digits(programs, device):
    """A million float32 added one after the other would lose a thousandth."""
    generator = np.random.default_rng(1)
    feeds = {
        name: generator.uniform(0.5, 1.5, its.shape).astype("float32")
        for name, its in long_sums().inputs.items()
    }
    found = Bound(programs["long"], device).run(feeds)
    z = (feeds["z"] * np.float32(1.5)).astype("float64")
    exact = {"rows": feeds["x"].astype("float64").sum(1), "all": z.sum(), "columns": z.sum(0)}
    for name, wanted in exact.items():
        np.testing.assert_allclose(found[name], wanted, 2.5e-7, err_msg=name)


def nests_of(graph: Graph) -> list[LoopNest]:
    return [
        step.group.nest for step in plan_of(graph, fused=True).steps if step.group.nest is not None
    ]


def geometries() -> Any:
    rows, columns = (1, 2, 3, 40, 5000), (1, 2, 3, 7, 8, 31, 32, 33, 512, 1000, 40_000)
    for size in itertools.product(rows, columns):
        x = gg.input("x", size)
        graphs = (
            Graph({"y": gg.tanh(x) * 2.0}),
            Graph({"y": gg.max(gg.tanh(x), 1)}),
            Graph({"y": gg.sum(gg.tanh(x), 0)}),
            Graph({"y": gg.sum(gg.tanh(x))}),
            Graph({"y": gg.exp(x - gg.max(x, 1, keepdims=True))}),
        )
        for graph, aligned in itertools.product(graphs, (True, False)):
            for nest in nests_of(graph):
                yield nest.loops, geometry_of(nest.loops, aligned)


def test_every_element_has_one_thread():
    forms = set()
    for loops, its in geometries():
        size = loops.rows * loops.columns
        assert its.block <= LARGEST_GROUP and its.block % 32 == 0
        assert 0 < its.grid(loops) < 2**31
        if its.chunk:
            forms.add("chunk")
            assert its.parts * its.chunk >= size > (its.parts - 1) * its.chunk
            assert its.chunk % (BLOCK * its.width) == 0
        elif its.flat:
            forms.add("flat")
            assert size % its.width == 0
            assert its.grid(loops) * its.block * its.width >= size
        else:
            forms.add("rows")
            of_item = its.threads * its.width
            assert its.items * of_item >= loops.columns > (its.items - 1) * of_item
            assert loops.columns % its.width == 0 and its.threads & (its.threads - 1) == 0
            assert its.parts * its.height >= loops.rows > (its.parts - 1) * its.height
            assert its.grid(loops) * its.groups >= its.parts > (its.grid(loops) - 1) * its.groups
            assert its.threads <= 32 or its.groups == 1  # barriers are for whole blocks
    assert forms == {"chunk", "flat", "rows"}


def test_numbers_are_read_one_by_one_where_an_array_begins_in_between():
    """A view that begins at an odd place: 16 bytes at once would not be aligned."""
    whole = gg.input("x", (65,))
    texts = {}
    for start in (0, 1, 4):
        y = gg.tanh(whole[start : start + 60] * 2.0)
        (text,) = device_program(Graph({"y": y})).kernels.values()
        texts[start] = "load<4>" in text
    assert texts == {0: True, 1: False, 4: True}


def test_an_output_in_an_arguments_memory_is_given_once():
    x, y = gg.input("x", (4, 8)), gg.input("y", (4, 8))
    (nest,) = nests_of(Graph({"y": gg.exp(x - gg.max(x * y, 1, keepdims=True))}))
    output, argument = next(iter(nest.loops.may_share()))
    apart, shared = print_nest(nest.loops), print_nest(nest.loops, {output: argument})
    assert len(shared.words) == len(apart.words) - 1
    assert f"o{output} = a{argument};" in shared.text and f"r{output}" not in shared.text


@needs_compiler
@pytest.mark.parametrize("case", MASKED, ids=str)
def test_masks_are_those_of_the_philox_stream_bit_for_bit(programs, device, case):
    shape, dtype = case
    values = {"x": np.ones(shape, dtype), "seed": 2**63 - 5, "step": 2**40 + 3}
    found = Bound(programs[case], device).run(values)
    for stream, (name, rate) in enumerate((("inside", 0.1), ("alone", 0.5))):
        wanted = np.empty(shape, dtype)
        fill_dropout_mask(wanted, values["seed"], values["step"], stream, rate)
        np.testing.assert_array_equal(found[name], wanted)


def test_equal_layers_have_one_kernel_whatever_the_batch():
    kernels = [
        set(device_program(Graph({"y": gg.softmax(gg.input("x", (rows, 24)) * 3.0)})).kernels)
        for rows in (5, 7, 640)
    ]
    assert kernels[0] == kernels[1] == kernels[2] and len(kernels[0]) == 1
