"""Joining frames: the deltas of many slices of one value are laid side by side, not added up."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import join_frames, prune

BEFORE = """\
%0 = input() : float64[2, 3]    # d
%1 = slice(%0, starts=(0, 0), stops=(2, 1), steps=(1, 1)) : float64[2, 1]    # slice
%2 = slice(%0, starts=(0, 1), stops=(2, 3), steps=(1, 1)) : float64[2, 2]    # slice_1
%3 = unslice(%2, starts=(0, 1), steps=(1, 1)) : float64[2, 3]    # right
%4 = unslice(%1, starts=(0, 0), steps=(1, 1)) : float64[2, 3]    # left
%5 = add(%3, %4) : float64[2, 3]    # y
output y = %5"""

AFTER = """\
%0 = input() : float64[2, 3]    # d
%1 = slice(%0, starts=(0, 0), stops=(2, 1), steps=(1, 1)) : float64[2, 1]    # slice
%2 = slice(%0, starts=(0, 1), stops=(2, 3), steps=(1, 1)) : float64[2, 2]    # slice_1
%3 = concatenate(%1, %2, axis=1) : float64[2, 3]    # y
output y = %3"""


def test_windows_that_tile_an_axis_to_the_letter():
    d = gg.input("d", (2, 3), "float64")
    a, b = d[:, :1], d[:, 1:]
    right = gg.pad(b, [(0, 0), (1, 0)], name="right")
    left = gg.pad(a, [(0, 0), (0, 2)], name="left")
    graph = Graph({"y": gg.add(right, left, name="y")})
    assert str(graph) == BEFORE
    assert str(prune(join_frames(graph))) == AFTER


X = gg.input("x", (4, 6), "float64")
TABLE = gg.input("table", (5, 3), "float64")
PLACES = gg.input("places", (4, 6), "int32")
NUMBERS = gg.input("numbers", (4,), "int32")


def weighted(parts: list[Node]) -> Node:
    """A loss to which each part sends back another delta."""
    total = gg.constant(0.0, "float64")
    for number, part in enumerate(parts):
        total = total + gg.sum(part * part * float(number + 1))
    return total


SENDERS = {
    "each column": ("x", [X[:, t] for t in range(6)], "concatenate"),
    "each row, from the last": ("x", [X[t] for t in (3, 2, 1, 0)], "concatenate"),
    "a split": ("x", list(gg.split(X, [1, 3, 2], 1)), "concatenate"),
    "every second": ("x", [X[:, ::2], X[:, 1::2]], "unslice_all"),
    "with gaps": ("x", [X[:, 0], X[:, 2], X[:, 5]], "unslice_all"),
    "overlapping": ("x", [X[:, 0:4], X[:, 2:6], X[1:3, 1:5]], "unslice_all"),
    "one twice": ("x", [X[:, 1], X[:, 1] + 1.0, X[:, 2]], "unslice_all"),
    "and the whole": ("x", [X[:, 1], X, X[:, 3], gg.tanh(X)], "unslice_all"),
    "and a number for all": ("x", [X[:, 1], gg.mean(X), X[:, 3]], "unslice_all"),
    "columns and the whole": ("x", [X, *(X[:, t] for t in range(6))], "concatenate"),
    "nothing and something": ("x", [X[:, :0], X[:, :2], X[:, 2:]], "concatenate"),
    "rows looked up": ("table", [gg.gather(TABLE, NUMBERS[t]) for t in range(4)], "scatter_add"),
    "rows of rows": (
        "table",
        [
            gg.gather(TABLE, gg.constant([[0, 4], [4, 4]], "int32")),
            gg.gather(TABLE, NUMBERS),
            TABLE[2],
        ],
        "scatter_add",
    ),
    "elements along an axis": (
        "x",
        [gg.take_along_axis(X, PLACES[:, 0:2], 1), gg.take_along_axis(X, PLACES[:, 3:4], 1)],
        "put_along_axis",
    ),
}


def feeds_of(graph: Graph) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(4)
    feeds = {
        "x": generator.normal(size=(4, 6)),
        "table": generator.normal(size=(5, 3)),
        "places": generator.integers(0, 6, (4, 6)).astype("int32"),
        "numbers": np.array([1, 4, 1, 0], "int32"),
    }
    return {name: feeds[name] for name in graph.inputs}


@pytest.mark.parametrize("name", SENDERS)
def test_what_is_sent_back_to_one_value_is_joined_and_stays_the_same(name):
    leaf, parts, operation = SENDERS[name]
    derived = gg.derive(Graph({"loss": weighted(parts)}), "loss", [leaf])
    assert len(derived.contributions(leaf)) >= 2  # they stay apart before their sum
    graph = prune(derived.with_outputs({"delta": derived.delta(leaf)}))
    after = prune(join_frames(graph))
    feeds = feeds_of(graph)
    old, new = (evaluate(g, feeds)[g.outputs["delta"]] for g in (graph, after))
    np.testing.assert_allclose(new, old, 1e-13, 1e-13)
    frames = [n for n in after if n.operation.name in ("unslice", "scatter_add", "put_along_axis")]
    assert operation in {node.operation.name for node in after}
    assert len(frames) == (operation in ("scatter_add", "put_along_axis")) + (
        name == "rows of rows"
    )
    assert str(prune(join_frames(after))) == str(after)
    for fuse in (False, True):
        found = gg.compile(graph, fuse=fuse)(**feeds)["delta"]
        np.testing.assert_allclose(found, old, 1e-12, 1e-12)


def test_a_contribution_that_is_asked_for_is_still_there():
    parts = [X[:, t] for t in range(6)]
    graph = gg.derive(Graph({"loss": weighted(parts)}), "loss", ["x"])
    name = next(iter(graph.contributions("x")))
    sent = graph.contributions("x")[name]
    feeds = feeds_of(graph)
    wanted = f"x.delta<-{name}"
    found = gg.compile(graph, ["x.delta", wanted])(**feeds)
    np.testing.assert_allclose(found[wanted], evaluate(graph, feeds)[sent], 1e-13)


def test_a_part_of_a_sum_that_others_read_is_computed_once():
    frames = [gg.pad(X[:, t : t + 1], [(0, 0), (t, 5 - t)]) for t in range(4)]
    part = frames[0] + frames[1]
    graph = Graph({"part": gg.tanh(part), "all": part + frames[2] + frames[3]})
    after = prune(join_frames(graph))
    feeds = feeds_of(graph)
    for key in graph.outputs:
        old, new = (evaluate(g, feeds)[g.outputs[key]] for g in (graph, after))
        np.testing.assert_array_equal(new, old)
    assert [node.operation.name for node in after].count("unslice_all") == 2


def test_a_sum_doubled_many_times_is_not_unfolded():
    total = gg.pad(X[:, :1], [(0, 0), (0, 5)]) + gg.pad(X[:, 1:2], [(0, 0), (1, 4)])
    for _ in range(60):
        total = total + total
    after = join_frames(Graph({"y": total}))
    assert len(after) < 80


@pytest.mark.parametrize("seed", range(30))
def test_random_windows_of_open_sizes(seed):
    """Any windows, in any order and number, some of them of dimensions that are known later."""
    random = Random(seed)
    x = gg.input("x", ("batch", 7, 5), "float64")
    parts: list[Node] = [x] if random.random() < 0.3 else []
    for _ in range(random.randint(2, 6)):
        key = [slice(None)]
        for size in (7, 5):
            start = random.randrange(size)
            key.append(slice(start, random.randint(start, size), random.randint(1, 3)))
        parts.append(x[tuple(key)])
    graph = gg.derive(Graph({"loss": weighted(parts)}), "loss", ["x"])
    graph = graph.with_outputs({"delta": graph.delta("x")})
    values = np.random.default_rng(seed).normal(size=(3, 7, 5))
    expected = np.zeros_like(values)
    for number, part in enumerate(parts):
        views = [values, expected]
        node = part
        if node is not x:
            window = tuple(
                slice(start, None if isinstance(stop, gg.Dimension) else stop, step)
                for start, stop, step in zip(*node.attributes.values(), strict=True)
            )
            views = [array[window] for array in views]
        views[1][...] += 2 * (number + 1) * views[0]
    for fuse in (False, True):
        found = gg.compile(graph, fuse=fuse)(x=values)["delta"]
        np.testing.assert_allclose(found, expected, 1e-12, 1e-12)


@pytest.mark.parametrize("fuse", [False, True])
def test_memory_grows_with_the_number_of_slices_and_not_with_its_square(fuse):
    def peak(steps: int) -> int:
        x = gg.input("x", (8, steps, 16)) * gg.parameter("g", (16,))
        parts = [gg.sum(gg.tanh(x[:, t]) ** float(t % 3 + 1)) for t in range(steps)]
        graph = gg.derive(Graph({"loss": gg.sum(gg.stack(parts))}), "loss", ["g"])
        graph = graph.with_outputs({"g": graph.delta("g")})
        return gg.compile(graph, fuse=fuse).program().peak_bytes

    assert peak(64) < 2.2 * peak(32)
    assert peak(64) < 6 * 8 * 64 * 16 * 4
