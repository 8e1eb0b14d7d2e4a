"""The whole pipeline: sizes, names, fetches, states, and programs that fuse."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from random_graphs import assert_same_values, grow_case

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph.node import extent
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import specialise


def attention() -> Graph:
    """A batch of rows that look at each other, with a mask of named sizes."""
    x = gg.input("x", ("batch", "length", 4), "float64")
    w = gg.parameter("w", (4, 4), dtype="float64")
    places = gg.iota("length")
    causal = gg.less_equal(places, gg.expand_dims(places, 1))
    scores = gg.matmul(x @ w, x, transpose_b=True, name="scores")
    weights = gg.softmax(gg.where(causal, scores, -np.inf), name="weights")
    loss = gg.mean(gg.tanh(weights @ x) * gg.cast(extent("length"), "float64"), name="loss")
    return gg.derive(Graph({"loss": loss}), "loss")


STATE = {"w": np.random.default_rng(0).normal(size=(4, 4))}


def rows(batch: int, length: int) -> np.ndarray:
    return np.random.default_rng(batch * 10 + length).normal(size=(batch, length, 4))


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 3])
def test_one_declaration_serves_every_size(batch, length):
    graph = attention()
    names = ["x.delta", "w.delta", "weights", "scores.delta"]
    found = gg.compile(graph, names)(STATE, x=rows(batch, length))
    known = specialise(graph, {"batch": batch, "length": length})
    expected = evaluate(known, {"x": rows(batch, length)}, STATE)
    for name in [*names, "loss"]:
        np.testing.assert_allclose(found[name], expected[known[name]], 1e-11, 1e-13)
    upper = np.triu_indices(length, 1)
    assert not found["weights"][:, *upper].any()


def test_programs_are_made_once_for_each_set_of_sizes():
    compiled = gg.compile(attention())
    first = compiled.program(batch=2, length=3)
    assert compiled.program(length=3, batch=2) is first
    assert compiled.program(batch=3, length=2) is not first
    compiled(STATE, x=rows(2, 3))
    assert compiled.program(batch=2, length=3, unrelated=7) is first


def test_eight_threads_compile_one_program_once():
    compiled = gg.compile(attention())
    found: list[object] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        found.append(compiled(STATE, x=rows(2, 3))["loss"])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(map(float, found))) == 1
    assert len(compiled._programs) == 1


def test_sizes_that_contradict_each_other_are_named():
    x, y = gg.input("x", ("batch", 3)), gg.input("y", "batch")
    compiled = gg.compile(Graph({"x": x * 2.0, "y": y * 2.0}))
    with pytest.raises(DeclarationError, match="'batch' is 2 in one input and 4 in 'y'") as caught:
        compiled(x=np.zeros((2, 3)), y=np.zeros(4))
    assert __file__ in caught.value.where
    with pytest.raises(DeclarationError, match=r"'x' has shape \[2\], declared is float32\[batch"):
        compiled(x=np.zeros(2), y=np.zeros(2))
    with pytest.raises(DeclarationError, match=r"'x' has shape \[2, 4\]"):
        compiled(x=np.zeros((2, 4)), y=np.zeros(2))
    with pytest.raises(UnknownNameError, match="missing y"):
        compiled(x=np.zeros((2, 3)))
    with pytest.raises(UnknownNameError, match=r"dimension\(s\) batch"):
        compiled.program()


def test_a_size_that_no_input_shows_is_asked_for():
    compiled = gg.compile(Graph({"y": gg.input("x", 3) * extent("n")}))
    with pytest.raises(UnknownNameError, match=r"dimension\(s\) n"):
        compiled(x=np.ones(3))
    assert compiled.program(n=4)(x=np.ones(3))["y"].tolist() == [4, 4, 4]


def test_fetching_by_name_and_by_node():
    x = gg.input("x", 3)
    z = gg.exp(x, name="z")
    graph = gg.derive(Graph({"y": gg.sum(z)}), "y")
    found = gg.compile(graph, ["z", graph["x"], "x.delta"])(x=np.zeros(3))
    assert list(found) == ["y", "z", "x", "x.delta"]
    for one in ("x.delta", graph.delta("x")):
        assert list(gg.compile(graph, one, guards="y")(x=np.zeros(3))) == ["y", "x.delta"]
    with pytest.raises(UnknownNameError, match="no node is called 'zz'"):
        gg.compile(graph, ["zz"])
    with pytest.raises(UnknownNameError, match="not part of this graph"):
        gg.compile(graph, [gg.input("other")])


def test_what_nobody_asked_for_is_not_computed():
    compiled = gg.compile(attention())
    assert all("delta" not in name for name in compiled.graph.names)
    assert len(compiled.program(batch=2, length=3).plan.steps) < 12


def test_without_passes_the_program_is_the_graph():
    graph = specialise(attention(), {"batch": 2, "length": 3})
    plain = gg.compile(graph, passes=(), specialised_passes=())
    assert plain.graph.nodes == graph.nodes and plain.reports == ()
    np.testing.assert_allclose(
        plain(STATE, x=rows(2, 3))["loss"], gg.compile(graph)(STATE, x=rows(2, 3))["loss"], 1e-12
    )


def test_the_source_of_a_graph_of_known_sizes():
    compiled = gg.compile(Graph({"y": gg.exp(gg.input("x", 3), name="y")}))
    assert "np.exp(x0, out=v1)" in compiled.source
    assert compiled.program().peak_bytes == 64


def test_initial_states_follow_seed_and_name():
    w = gg.parameter("w", (3, 3), gg.normal(1.0))
    s = gg.state("s", (), gg.full(2.0), "float64")
    graph = Graph({"y": gg.sum(w) * gg.cast(s, "float32")})
    first, again, other = (gg.initial_state(graph, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["w"], again["w"])
    assert not np.array_equal(first["w"], other["w"]) and first["s"] == 2.0
    assert isinstance(first["s"], np.ndarray) and first["s"].dtype == "float64"
    assert np.isfinite(gg.compile(graph)(first)["y"])


def test_training_by_one_program():
    """A step is a graph like any other: a line is fitted by gradient descent."""
    x, truth = gg.input("x", ("batch", 2)), gg.input("truth", "batch")
    w, step = gg.parameter("w", 2), gg.state("step", (), dtype="int32")
    loss = gg.mean((x @ w - truth) ** 2.0, name="loss")
    graph = gg.derive(Graph({"loss": loss}), "loss")
    graph = graph.with_outputs({"loss": loss}, {w: w - 0.2 * graph.delta("w"), step: step + 1})
    compiled = gg.compile(graph, guards=["loss"])
    state = gg.initial_state(graph)
    generator = np.random.default_rng(0)
    losses = []
    for number in range(60):
        points = generator.normal(size=(8 + number % 3, 2)).astype("f4")
        losses.append(compiled(state, x=points, truth=points @ np.array([2.0, -3.0], "f4"))["loss"])
    np.testing.assert_allclose(state["w"], [2, -3], atol=1e-3)
    assert state["step"] == 60 and losses[-1] < 1e-4 < losses[0]
    assert len(compiled._programs) == 3


# ---------------------------------------------------------------- fused programs


@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize("first", range(0, 60, 30))
def test_random_graphs_fused_give_the_reference_values(first):
    """More of them, in every way of compiling, are in tests/fusion/test_random_ways.py."""
    pytest.importorskip("llvmlite")
    kernels = 0
    for seed in range(first, first + 30):
        case = grow_case(seed, 8 + seed % 20)
        compiled = gg.compile(case.graph, fuse=True, guards=["loss"])
        assert_same_values(case.ran(compiled), case.values(), f"seed {seed}")
        kernels += len(compiled.program().kernels)
    assert kernels > 60


@pytest.mark.usefixtures("small_kernels")
def test_a_fused_kernel_reads_a_turned_value_anew_at_every_run():
    """A transposed value that is broadcast into a kernel is copied when it stands, not before."""
    pytest.importorskip("llvmlite")
    x = gg.input("x", (2, 2, 3), "float64")
    turned = gg.transpose(gg.exp(x))
    y = gg.tanh(gg.broadcast_to(turned, (2, 3, 2, 2))) + 1.0
    compiled = gg.compile(Graph({"y": y}), fuse=True)
    assert len(compiled.program().kernels) == 2
    for seed in range(2):
        value = np.random.default_rng(seed).normal(size=(2, 2, 3))
        expected = np.tanh(np.exp(value).T) + 1.0
        np.testing.assert_allclose(compiled(x=value)["y"], [expected] * 2, 1e-10)
