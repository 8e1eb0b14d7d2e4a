"""Programs: updates, guards, threads and memory."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from planned import plan_of

import graphgrad as gg
from graphgrad import Graph
from graphgrad.backends import Program, lower
from graphgrad.errors import DataError, DeclarationError, NonFiniteError, UnknownNameError


def program(graph: Graph, guards: tuple[str, ...] = ()) -> Program:
    """The program of the graph as it is, without passes."""
    return lower(plan_of(graph, [graph.outputs[name] for name in guards]))


def arrays(**values: object) -> dict[str, np.ndarray]:
    return {name: np.array(value, "float32") for name, value in values.items()}


# ---------------------------------------------------------------- updates


@pytest.mark.parametrize("fuse", [False, True])
def test_a_program_and_its_arena_are_free_with_their_last_user(fuse):
    w = gg.parameter("w", (64, 100))
    graph = Graph({"loss": gg.sum(gg.tanh(w) * w)}, {w: gg.tanh(w) * 0.5})
    run = gg.compile(graph, guards="loss", fuse=fuse).program()
    state = gg.initial_state(graph)
    gc.collect()
    gc.disable()
    try:
        run(state)
        arena = run._workspaces._idle[0].arena
        held = [weakref.ref(run), weakref.ref(arena)]
        del arena
        del run
        assert [each() for each in held] == [None, None]
    finally:
        gc.enable()


def test_states_are_updated_in_the_callers_arrays():
    w, step = gg.parameter("w", 2), gg.state("step", (), dtype="int32")
    run = program(Graph({"old": gg.sum(w)}, {w: w * 2.0, step: step + 1}))
    state = {**arrays(w=[1, 2]), "step": np.array(0, "int32")}
    held = state["w"]
    for number in range(3):
        assert run(state)["old"] == 3 * 2**number
    assert state["w"] is held and held.tolist() == [8, 16] and state["step"] == 3


def test_two_states_swap():
    a, b = gg.state("a", 2), gg.state("b", 2)
    run = program(Graph({}, {a: b, b: a}))
    state = arrays(a=[1, 2], b=[3, 4])
    run(state)
    assert state["a"].tolist() == [3, 4] and state["b"].tolist() == [1, 2]


def test_three_states_turn_in_a_circle_of_views():
    a, b, c = (gg.state(name, (2, 2)) for name in "abc")
    run = program(Graph({}, {a: gg.transpose(b), b: gg.reshape(c, (2, 2)), c: a[::1]}))
    state = arrays(a=[[1, 2], [3, 4]], b=[[5, 6], [7, 8]], c=[[9, 10], [11, 12]])
    run(state)
    assert state["a"].tolist() == [[5, 7], [6, 8]] and state["b"].tolist() == [[9, 10], [11, 12]]
    assert state["c"].tolist() == [[1, 2], [3, 4]]


def test_a_state_that_is_returned_is_the_old_one():
    w = gg.parameter("w", 2)
    outputs = {"w": w, "turned": w[::1], "part": w[1:], "next": w * 3.0}
    state = arrays(w=[1, 2])
    found = program(Graph(outputs, {w: w * 3.0}))(state)
    assert found["w"].tolist() == [1, 2] and found["part"].tolist() == [2]
    assert found["next"].tolist() == [3, 6] == state["w"].tolist()


def test_updates_read_the_old_values_of_all_states():
    a, b, c = (gg.state(name, 2) for name in "abc")
    run = program(Graph({}, {a: a + b, b: a * b, c: gg.exp(a) * 0.0 + b + c}))
    state = arrays(a=[1, 2], b=[3, 4], c=[5, 6])
    run(state)
    assert state["a"].tolist() == [4, 6] and state["b"].tolist() == [3, 8]
    assert state["c"].tolist() == [8, 10]


def test_an_update_of_an_update():
    """The next value of one state goes into the next value of another, as momentum does."""
    w, m = gg.parameter("w", 2), gg.state("m", 2)
    next_m = m * 0.5 + w
    run = program(Graph({}, {m: next_m, w: w - next_m}))
    state = arrays(w=[4, 8], m=[2, 2])
    run(state)
    assert state["m"].tolist() == [5, 9] and state["w"].tolist() == [-1, -1]


def test_one_node_is_the_next_value_of_two_states():
    a, b = gg.state("a", 2), gg.state("b", 2)
    total = a + b
    state = arrays(a=[1, 2], b=[3, 4])
    program(Graph({}, {a: total, b: total}))(state)
    assert state["a"].tolist() == state["b"].tolist() == [4, 6]


def test_a_product_is_not_written_into_what_it_reads():
    w = gg.parameter("w", (2, 2))
    state = arrays(w=[[1, 2], [3, 4]])
    program(Graph({}, {w: w @ w}))(state)
    assert state["w"].tolist() == [[7, 10], [15, 22]]
    program(Graph({}, {w: w + gg.transpose(w)}))(state)
    assert state["w"].tolist() == [[14, 25], [25, 44]]


def test_a_state_that_nothing_changes_stays():
    w, v = gg.parameter("w", 2), gg.state("v", 2)
    state = arrays(w=[1, 2], v=[3, 4])
    program(Graph({"y": w * v}, {w: w}))(state)
    assert state["w"].tolist() == [1, 2] and state["v"].tolist() == [3, 4]


# ---------------------------------------------------------------- guards


def training() -> tuple[Graph, dict[str, np.ndarray]]:
    x, w, step = gg.input("x", 2), gg.parameter("w", 2), gg.state("step", (), dtype="int32")
    with gg.scope("head"):
        loss = gg.sum(gg.log(x * w), name="loss")
    graph = gg.derive(Graph({"loss": loss}), loss)
    updates = {w: w - 0.5 * graph.delta("w"), step: step + 1}
    state = {**arrays(w=[1, 2]), "step": np.array(0, "int32")}
    return graph.with_outputs({"loss": loss}, updates), state


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_loss_that_is_not_finite_changes_nothing_and_is_named(bad):
    graph, state = training()
    before = {name: array.copy() for name, array in state.items()}
    run = gg.compile(graph, guards=["loss"])
    with pytest.raises(NonFiniteError, match=r"head\.loss is (nan|-?inf)") as caught:
        run(state, x=np.array([bad, 1.0]))
    assert __file__ in caught.value.where
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)
    assert run(state, x=np.array([1.0, 1.0]))["loss"] == np.float32(np.log(2))  # and goes on
    assert state["step"] == 1


def test_without_guards_what_is_not_finite_goes_through():
    graph, state = training()
    assert np.isnan(gg.compile(graph)(state, x=np.array([-1.0, 1.0]))["loss"])
    assert state["step"] == 1


def test_a_view_can_guard():
    w = gg.parameter("w", 2)
    loss = gg.reshape(gg.sum(gg.log(w), keepdims=True), (), name="loss")
    graph = Graph({"loss": loss}, {w: w * 2.0})
    state = arrays(w=[-1, 2])
    with pytest.raises(NonFiniteError, match="loss is nan"):
        program(graph, ("loss",))(state)
    assert state["w"].tolist() == [-1, 2]


def test_a_guard_that_is_an_update_is_copied_after_the_check():
    s = gg.state("s")
    graph = Graph({"s": gg.log(s)}, {s: gg.log(s)})
    state = arrays(s=-1)
    with pytest.raises(NonFiniteError):
        program(graph, ("s",))(state)
    assert state["s"] == -1


def test_guards_must_be_scalar_outputs():
    graph, _ = training()
    with pytest.raises(UnknownNameError, match="the guard 'los' is not an output") as caught:
        gg.compile(graph, guards=["los"])
    assert "loss" in caught.value.fix
    with pytest.raises(DeclarationError, match=r"guard 'w' is float32\[2\]; a guard is a scalar"):
        gg.compile(graph, fetch=["w"], guards=["w"])


# ---------------------------------------------------------------- what is fed and returned


def test_inputs_that_do_not_fit_are_named():
    run = program(Graph(gg.input("x", (2, 3)) + gg.input("y", 3), names={}))
    good = {"x": np.zeros((2, 3), "f4"), "y": np.zeros(3, "f4")}
    run(**good)
    for change, error, words in (
        ({"x": np.zeros((3, 2), "f4")}, DeclarationError, r"'x' has shape \[3, 2\].*\[2, 3\]"),
        ({"x": np.zeros((2, 3), "complex64")}, DeclarationError, "'x' has dtype complex64"),
        ({"z": 1}, UnknownNameError, "unknown z"),
        ({"y": [1.0, 2.0]}, DeclarationError, r"'y' has shape \[2\]"),
        ({"y": ["a", "b", "c"]}, DeclarationError, "'y' has dtype <U1"),
    ):
        with pytest.raises(error, match=words):
            run(**{**good, **change})
    with pytest.raises(UnknownNameError, match="missing x, y") as caught:
        run()
    assert "it takes x, y" in caught.value.fix


def test_inputs_are_converted_where_nothing_of_their_kind_is_lost():
    x, n, b = gg.input("x", 2), gg.input("n", 2, "int32"), gg.input("b", 2, "bool")
    run = program(Graph({"x": x * 1.0, "n": n + 0, "b": gg.logical_not(b)}))
    found = run(x=[1, 2], n=np.array([3, 4], "uint8"), b=[True, False])
    assert found["x"].dtype == "float32" and found["n"].tolist() == [3, 4]
    assert found["b"].tolist() == [False, True]
    good = {"x": [1, 2], "n": [1, 2], "b": [True, True]}
    for change in ({"n": [1.5, 2.5]}, {"b": [0, 1]}):
        with pytest.raises(DeclarationError, match="the graph wants"):
            run(**(good | change))
    for change in ({"n": [1, 2**31]}, {"n": np.array([0, 2**32], "uint64")}, {"x": [1e39, 0.0]}):
        with pytest.raises(DeclarationError, match="too large for"):
            run(**(good | change))
    assert run(**(good | {"x": [np.inf, np.nan]}))["x"][0] == np.inf


def test_states_that_do_not_fit_are_named_and_nothing_is_changed():
    w, v = gg.parameter("w", (2, 2)), gg.state("v", 2)
    run = program(Graph({}, {w: w + 1.0, v: v + 1.0}))
    good = arrays(w=np.zeros((2, 2)), v=[0, 0])
    read_only = good["v"].copy()
    read_only.flags.writeable = False
    for change, error, words in (
        ({"v": np.zeros(3, "f4")}, DeclarationError, r"'v' is float32\[3\]; the graph declares"),
        ({"v": np.zeros(2)}, DeclarationError, r"'v' is float64\[2\]"),
        ({"w": np.zeros((2, 2), "f4").T[::-1]}, DeclarationError, "contiguous"),
        ({"v": [0.0, 0.0]}, DeclarationError, "'v' is list, not an array"),
        ({"v": read_only}, DeclarationError, "'v' cannot be written to"),
        ({"v": None}, DeclarationError, "'v' is NoneType, not an array"),
    ):
        state = {**good, **change}
        with pytest.raises(error, match=words):
            run(state)
        assert not good["w"].any() and not good["v"].any()
    with pytest.raises(UnknownNameError, match="missing w, v"):
        run()
    run({**good, "of another model": np.zeros(1)})
    assert good["v"].tolist() == [1, 1]


def test_what_is_returned_is_never_memory_of_the_program():
    x, w = gg.input("x", 2), gg.parameter("w", 2)
    run = program(Graph({"y": gg.exp(x), "x": x, "w": w, "c": gg.constant([1.0, 2.0])}))
    state, feed = arrays(w=[5, 6]), np.array([0.0, 1.0], "f4")
    first = run(state, x=feed)
    copies = {name: value.copy() for name, value in first.items()}
    for value in first.values():
        value += 100
    second = run(state, x=feed)
    for name, value in copies.items():
        np.testing.assert_array_equal(second[name], value)
    assert feed.tolist() == [0, 1] and state["w"].tolist() == [5, 6]


def test_an_error_in_a_step_leaves_the_program_usable():
    table, n = gg.parameter("table", (3, 2)), gg.input("n", 1, "int32")
    rows = gg.gather(table, n)
    run = program(Graph({"rows": rows}, {table: table + gg.sum(rows)}))
    state = arrays(table=np.ones((3, 2)))
    with pytest.raises(DataError, match="outside"):
        run(state, n=[3])
    assert (state["table"] == 1).all()
    assert run(state, n=[2])["rows"].tolist() == [[1, 1]] and (state["table"] == 3).all()


# ---------------------------------------------------------------- threads and memory


def test_eight_threads_give_what_one_gives():
    x, w = gg.input("x", (32, 32)), gg.parameter("w", (32, 32))
    y = gg.softmax(gg.tanh(x @ w) @ w) @ gg.exp(gg.sin(x))
    run = gg.compile(Graph({"y": y, "total": gg.sum(y)}))
    generator = np.random.default_rng(0)
    state = {"w": generator.normal(size=(32, 32)).astype("f4")}
    feeds = [generator.normal(size=(32, 32)).astype("f4") for _ in range(64)]
    serial = [run(state, x=feed) for feed in feeds]
    barrier = threading.Barrier(8)

    def work(first: int) -> list[dict[str, np.ndarray]]:
        barrier.wait()
        return [run(state, x=feed) for feed in feeds[first::8]]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    for first, share in enumerate(results):
        for expected, found in zip(serial[first::8], share, strict=True):
            for name in expected:
                np.testing.assert_array_equal(found[name], expected[name])


def test_a_run_allocates_no_large_array():
    size = 256
    x, w = gg.input("x", (size, size)), gg.parameter("w", (size, size))
    hidden = gg.softmax(gg.tanh(x @ w + 1.0) * 0.5)
    loss = gg.mean(gg.standardise(hidden) @ w, name="loss")
    graph = gg.derive(Graph({"loss": loss}), loss)
    graph = graph.with_outputs({"loss": loss}, {w: w - 0.1 * graph.delta("w")})
    run = gg.compile(graph).program()
    state = {"w": np.zeros((size, size), "f4")}
    feeds = {"x": np.ones((size, size), "f4")}
    run(state, **feeds)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(3):
            run(state, **feeds)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert run.plan.arena_bytes > 2 * size * size * 4
    assert peak < size * size  # a quarter of one array; rows of a reduction are smaller


def test_a_backend_whose_program_cannot_run_has_no_programs():
    class Idle(Program):
        pass

    found = program(Graph({"y": gg.tanh(gg.input("x", 3))}))
    with pytest.raises(TypeError, match=r"abstract.*__call__"):
        Idle(found.plan, found.source, found.kernels, {})
