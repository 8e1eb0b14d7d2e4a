"""Kernels that are no loop nests: rows by indices, the order of sums, ties, frames, bad indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_device import Bound, needs_compiler
from device_programs import device_of, device_program

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends.cupy.kernel_files import joined_axes
from graphgrad.backends.cupy.launches import REFUSED, Launch
from graphgrad.ops.evaluate import evaluate

DTYPES = ("float32", "int64", "bool")


def scattered(count: int, size: int, dtype: str, index: str = "int32", width: int = 3) -> Graph:
    indices, rows = gg.input("indices", (count,), index), gg.input("rows", (count, width), dtype)
    return Graph({"y": gg.scatter_add(indices, rows, size)})


def taken() -> Graph:
    x = gg.input("x", (3, 70, 5))
    table, indices = gg.input("table", (9, 4)), gg.input("indices", (2, 3), "int64")
    spot = gg.argmax(x, 1, keepdims=True)
    outputs = {
        "first": gg.argmax(x, 0),
        "middle": gg.argmax(x, 1, dtype="int64"),
        "last": gg.argmax(x, -1),
        "best": gg.take_along_axis(x, spot, 1),
        "put": gg.put_along_axis(spot, x[:, :1], 80, 1),
        "rows": gg.gather(table, indices),
        "hot": gg.one_hot(indices, 9, "float32"),
        "padded": gg.pad(x, [(1, 2), (0, 0), (3, 1)]),
        "joined": gg.concatenate([x, x * 2.0, x[:, :7]], 1),
        "stacked": gg.stack([x, x + 1.0], 1),
        "steps": gg.transpose(x[1:, ::3], (2, 0, 1)) + 0.0,
        "top": gg.top(x, 2),
        "top of a long row": gg.top(gg.reshape(x, (3, 350)), 7),
        "all ranks": gg.top(gg.transpose(x, (0, 2, 1)), 70),
        "written": gg.write_rows(x, x[:, :2], gg.constant([[3, 1], [69, 0], [2, 4]], "int32")),
    }
    return Graph(outputs)


SCATTERED = {
    **{f"of {dtype}": scattered(2500, 40, dtype) for dtype in DTYPES},
    "of one row": scattered(1030, 1, "float32"),
    "of nothing": scattered(0, 4, "float32"),
    "wide": scattered(5, 4, "float32", "int64", 300),
}


@pytest.fixture(scope="module")
def programs():
    graphs = {**SCATTERED, "taken": taken()}
    return {name: device_program(graph) for name, graph in graphs.items()}


@pytest.fixture(scope="module")
def device(programs):
    return device_of(programs.values())


@needs_compiler
@pytest.mark.parametrize("name", SCATTERED)
def test_rows_are_added_in_the_order_of_numpys_add_at(programs, device, name):
    """Bit for bit: many rows for each place, of very different sizes, in three runs that are
    merged."""
    graph = SCATTERED[name]
    count, size = graph.inputs["rows"].shape[0], graph["y"].shape[0]
    generator = np.random.default_rng(2)
    indices = generator.integers(0, size, count).astype(graph.inputs["indices"].dtype)
    rows = generator.normal(size=graph.inputs["rows"].shape) * 10.0 ** generator.integers(0, 8)
    rows = (rows * 10 ** generator.uniform(-4, 4, (count, 1))).astype(graph["y"].dtype)
    wanted = np.zeros(graph["y"].shape, rows.dtype)
    add = np.logical_or if rows.dtype == bool else np.add
    add.at(wanted, indices, rows)
    for seed in (1, 2):
        found = Bound(programs[name], device).run({"indices": indices, "rows": rows}, seed)["y"]
        np.testing.assert_array_equal(found, wanted)


@needs_compiler
@pytest.mark.parametrize("kind", ["random", "ties", "not a number"])
def test_chosen_moved_and_framed_elements_are_numpys(programs, device, kind):
    graph, generator = taken(), np.random.default_rng(4)
    x: Any = generator.normal(size=(3, 70, 5)).astype("float32")
    if kind == "ties":
        x = generator.integers(0, 3, x.shape).astype("float32")
    elif kind == "not a number":
        x[generator.random(x.shape) < 0.05] = np.nan
    table = generator.normal(size=(9, 4)).astype("float32")
    feeds = {"x": x, "table": table, "indices": generator.integers(0, 9, (2, 3))}
    found, values = Bound(programs["taken"], device).run(feeds), evaluate(graph, feeds)
    for name, node in graph.outputs.items():
        np.testing.assert_array_equal(found[name], values[node], err_msg=name)


@needs_compiler
@pytest.mark.parametrize("bad", [-1, 9, 2**40])
def test_a_bad_index_is_told_and_touches_nothing(bad):
    table = gg.input("table", (9, 4))
    indices = gg.input("indices", (6,), "int64")
    spots = gg.input("spots", (9, 2), "int64")
    checked = gg.one_hot(indices, 9, "float32")
    outputs = {
        "gather": gg.gather(table, indices),
        "scatter_add": gg.scatter_add(indices, gg.ones((6, 4)), 9),
        "take": gg.take_along_axis(table, spots, 1),
        "put": gg.put_along_axis(spots, gg.ones((9, 2)), 9, 1),
        "one_hot": checked,
    }
    program = device_program(Graph(outputs))
    assert len(program.refusals) == 5
    bound = Bound(program)
    good = {"table": np.ones((9, 4)), "indices": np.arange(6), "spots": np.zeros((9, 2), int)}
    bound.run(good)
    for name in ("indices", "spots"):
        values = {**good, name: good[name].copy()}
        values[name][(-1,) * values[name].ndim] = bad
        with pytest.raises(AssertionError, match="a bad index"):
            bound.run(values)
        assert bound.memory[REFUSED].sum() == {"indices": 3, "spots": 2}[name]
        bound.memory[REFUSED][...] = 0


@needs_compiler
@pytest.mark.parametrize(("places", "told"), [([[4, 4]], 2), ([[4, 9]], 1), ([[-1, 4]], 1)])
def test_a_place_outside_or_named_twice_is_told(places, told):
    x, rows = gg.input("x", (1, 9, 5)), gg.input("rows", (1, 2, 5))
    program = device_program(Graph({"y": gg.write_rows(x, rows, gg.input("at", (1, 2), "int64"))}))
    bound = Bound(program)
    with pytest.raises(AssertionError, match="a bad index"):
        bound.run({"x": np.zeros((1, 9, 5)), "rows": np.ones((1, 2, 5)), "at": places})
    assert bound.memory[REFUSED].tolist() == [0, told]


def test_copies_walk_through_as_few_axes_as_can_be():
    assert joined_axes((2, 3, 4), (12, 4, 1), (12, 4, 1)) == ((24,), (1,), (1,))
    assert joined_axes((2, 1, 4), (4, 99, 1), (4, 7, 1)) == ((8,), (1,), (1,))
    assert joined_axes((2, 3, 4), (1, 8, 2), (12, 4, 1)) == ((2, 12), (1, 2), (12, 1))
    assert joined_axes((), (), ()) == ((1,), (1,), (1,))


def test_no_kernel_adds_floats_by_atomics(programs):
    for program in programs.values():
        assert not any("atomic" in text for text in program.kernels.values())
        assert all(isinstance(action, Launch) for action in program.actions)
