"""What `compile` and `initial_state` are given: checked at the door, and never changed."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DeclarationError, UnknownNameError

# ---------------------------------------------------------------- first values that are given


W = gg.parameter("w", (2, 3), gg.normal(1.0))
S = gg.state("s", (), dtype="int32")
GRAPH = Graph({"y": gg.sum(W)}, {W: W - 1.0, S: S + 1})


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6, dtype="f4").reshape(3, 2).T,
        [[1, 2, 3], [4, 5, 6]],
        np.ones((2, 3), "f4")[:, ::-1],
    ],
)
def test_what_is_given_is_copied_as_it_is_declared(value):
    before = np.array(value)
    state = gg.initial_state(GRAPH, given={"w": value})
    assert state["w"].dtype == "float32" and state["w"].flags.c_contiguous
    assert not np.shares_memory(state["w"], np.asarray(value))
    np.testing.assert_array_equal(state["w"], before)
    gg.compile(GRAPH)(state)
    np.testing.assert_array_equal(state["w"], before - 1)
    np.testing.assert_array_equal(value, before)
    assert state["s"] == 1


def test_one_array_for_two_states_gives_each_its_own():
    w, e = gg.parameter("w", 3), gg.state("e", 3)
    graph = Graph({"s": gg.sum(w)}, {w: w - 1.0, e: 0.5 * e + 0.5 * w})
    first = np.array([1.0, 2.0, 3.0], "f4")
    state = gg.initial_state(graph, given={"w": first, "e": first})
    gg.compile(graph)(state)
    assert state["w"].tolist() == [0, 1, 2] and state["e"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("given", "error", "reason"),
    [
        ({"W": np.ones((2, 3))}, UnknownNameError, "no parameter or state 'W'"),
        (
            {"w": 1.0, "v": 1.0},
            DeclarationError,
            r"'w' has shape \[\], declared is float32\[2, 3\]",
        ),
        ({"w": np.ones((3, 2))}, DeclarationError, r"'w' has shape \[3, 2\]"),
        ({"s": 1.5}, DeclarationError, "'s' has dtype float64, the graph wants int32"),
        ({"s": 2**40}, DeclarationError, "'s' has values too large for int32"),
        ({"w": np.full((2, 3), 1e300)}, DeclarationError, "'w' has values too large for float32"),
        ({"w": [[1.0], [2.0, 3.0]]}, DeclarationError, "'w': its rows have different lengths"),
        ({"w": W}, DeclarationError, "no value while"),
    ],
)
def test_what_does_not_fit_is_refused(given, error, reason):
    with pytest.raises(error, match=reason):
        gg.initial_state(GRAPH, given=given)


def test_a_name_that_is_nearly_right_is_suggested():
    with pytest.raises(UnknownNameError) as caught:
        gg.initial_state(Graph(gg.parameter("hidden.weights", 2) * 2.0), given={"hidden.weight": 1})
    assert "did you mean 'hidden.weights'?" in caught.value.fix


# ---------------------------------------------------------------- names and sizes


@pytest.mark.parametrize("name", ["self", "state", "sizes", "inputs", "graph", "of", "wrt"])
def test_a_dimension_or_input_may_have_any_name(name):
    x = gg.input(name, (name, 3))
    compiled = gg.compile(Graph({"y": x * 2.0}))
    assert compiled(**{name: np.ones((2, 3))})["y"].tolist() == [[2, 2, 2], [2, 2, 2]]
    assert compiled.program(**{name: 2}).graph.inputs[name].shape == (2, 3)


N, M = gg.dimension("n"), gg.dimension("m")


@pytest.mark.parametrize(
    ("shapes", "arrays", "sizes"),
    [
        ([(2 * N,)], [(4,)], {"n": 2}),
        ([(N + 1, 3)], [(5, 3)], {"n": 4}),
        ([(3 * N - 2,)], [(7,)], {"n": 3}),
        ([(N * M,), (N,)], [(6,), (2,)], {"n": 2, "m": 3}),
        ([(N + M,), (M, N)], [(5,), (2, 3)], {"m": 2, "n": 3}),
        ([(2 * N, N)], [(0, 0)], {"n": 0}),
        ([(N * M + N,), (M,)], [(8,), (3,)], {"m": 3, "n": 2}),
    ],
    ids=str,
)
def test_a_size_is_read_off_every_shape_that_tells_it(shapes, arrays, sizes):
    inputs = [gg.input(f"x{place}", shape) for place, shape in enumerate(shapes)]
    compiled = gg.compile(Graph([x * 2.0 for x in inputs]))
    feeds = {f"x{place}": np.ones(shape, "f4") for place, shape in enumerate(arrays)}
    found = compiled(**feeds)
    assert [array.shape for array in found.values()] == arrays
    assert list(compiled.program(**sizes).graph.inputs) == list(feeds)
    assert len(compiled._programs) == 1


@pytest.mark.parametrize(
    ("shapes", "arrays"),
    [
        ([(2 * N,)], [(5,)]),
        ([(N + 3,)], [(2,)]),
        ([(2 * N, N)], [(4, 3)]),
        ([(N * M,), (N, M)], [(7,), (2, 3)]),
        ([(N * M,), (N,)], [(5,), (2,)]),
    ],
    ids=str,
)
def test_a_size_that_does_not_fit_is_named(shapes, arrays):
    inputs = [gg.input(f"x{place}", shape) for place, shape in enumerate(shapes)]
    feeds = {f"x{place}": np.ones(shape, "f4") for place, shape in enumerate(arrays)}
    with pytest.raises(DeclarationError, match="input 'x0' has an axis of size") as caught:
        gg.compile(Graph([x * 2.0 for x in inputs]))(**feeds)
    assert __file__ in caught.value.where


def test_a_size_that_nothing_tells_says_how_to_give_it():
    compiled = gg.compile(Graph({"y": gg.input("x", (N * M,)) * 2.0}))
    with pytest.raises(UnknownNameError, match=r"dimension\(s\) m, n") as caught:
        compiled(x=np.ones(6))
    assert "compiled.program(m=…, n=…)(state, …)" in caught.value.fix
    assert compiled.program(m=2, n=3)(None, x=np.ones(6))["y"].shape == (6,)


def test_sizes_that_are_said_are_integers_of_any_kind():
    compiled = gg.compile(Graph({"y": gg.input("x", (N, 3)) * 2.0}))
    program = compiled.program(n=np.int64(2))
    assert compiled.program(n=2) is program and program.graph.inputs["x"].shape == (2, 3)
    for wrong in (2.5, -1, "n", None, True, N):
        with pytest.raises(DeclarationError, match="the dimension 'n': a size"):
            compiled.program(n=wrong)


def test_a_masked_state_is_refused():
    state = gg.initial_state(GRAPH)
    state["w"] = np.ma.array(state["w"], mask=True)
    with pytest.raises(DeclarationError, match="'w' is MaskedArray, not an array"):
        gg.compile(GRAPH)(state)


def test_without_takes_one_name_or_several():
    graph = Graph({"y": gg.tanh(gg.input("x", 3))})
    for without in ("fuse", ["fuse"], ("fuse", "simplify"), {"eager_updates"}):
        gg.compile(graph, without=without)
    with pytest.raises(UnknownNameError, match="no 'fused' to leave out"):
        gg.compile(graph, without="fused")


# ---------------------------------------------------------------- short texts


def test_programs_and_plans_say_in_a_line_what_they_are():
    graph = gg.derive(
        Graph(
            {
                "loss": gg.mean(
                    gg.tanh(gg.input("x", ("n", 50)) @ gg.parameter("w", (50, 40), gg.normal(1.0)))
                )
            }
        ),
        "loss",
    )
    compiled = gg.compile(graph, ["w.delta"])
    program = compiled.program(n=8)
    compiled.program(n=9)
    for item, parts in (
        (program.plan, ("<plan of ", " steps, arena ", " bytes, peak ")),
        (program, ("<program of ", "inputs x; parameters w; outputs loss, w.delta", "peak ")),
        (compiled, ("<compiled graph of ", "open sizes n; 2 programs so far")),
    ):
        assert len(repr(item)) < 200 and "\n" not in repr(item)
        assert all(part in repr(item) for part in parts), repr(item)
    assert str(program.plan).count("\n") >= len(program.plan.steps)
    assert f"{program.plan.arena_bytes:,}" in repr(program.plan)
