"""Memory over many sizes: one arena for all programs of a graph, and programs that are let go."""

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
from graphgrad.backends import Workspaces, lower
from graphgrad.errors import DeclarationError
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import specialise

WIDTH = 64


def training_graph() -> Graph:
    x = gg.input("x", ("n", WIDTH))
    w = gg.parameter("w", (WIDTH, WIDTH), gg.normal(0.1))
    loss = gg.mean(gg.tanh(x @ w) ** 2, name="loss")
    graph = gg.derive(Graph({"loss": loss}), "loss")
    return graph.with_outputs({"loss": loss}, {w: w - 0.1 * graph.delta(w)})


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, WIDTH)).astype("f4")


def expected_losses(graph: Graph, sizes: list[int]) -> list[float]:
    """What the reference engine gives for one step after another."""
    state = gg.initial_state(graph, 3)
    losses = []
    for size in sizes:
        known = specialise(graph, {"n": size})
        values = evaluate(known, {"x": rows(size)}, state)
        losses.append(float(values[known["loss"]]))
        state = {"w": values[known.updates[known.states["w"]]]}
    return losses


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_programs_that_share_an_arena_give_what_the_reference_gives(fuse, limit):
    graph = training_graph()
    run = gg.compile(graph, fuse=fuse, programs=limit)
    state = gg.initial_state(graph, 3)
    sizes = [70, 200, 70, 3, 300, 200, 70, 1, 300, 3]
    found = [float(run(state, x=rows(size))["loss"]) for size in sizes]
    np.testing.assert_allclose(found, expected_losses(graph, sizes), 1e-4)


def test_a_hundred_shapes_take_the_memory_of_the_largest():
    x, y = gg.input("x", ("n", "m")), gg.input("y", ("m",))
    w = gg.parameter("w", ())
    loss = gg.sum(gg.softmax(gg.tanh(x * w)) * y, name="loss")
    graph = gg.derive(Graph({"loss": loss}), "loss")
    run = gg.compile(graph.with_outputs({"loss": loss}, {w: w - 0.1 * graph.delta(w)}))
    state = gg.initial_state(run.source_graph)
    shapes = [(n, m) for n in range(100, 200, 10) for m in range(100, 200, 10)]
    np.random.default_rng(0).shuffle(shapes)
    run(state, x=np.zeros(shapes[0], "f4"), y=np.zeros(shapes[0][1], "f4"))
    tracemalloc.start()
    try:
        for n, m in shapes:
            run(state, x=np.zeros((n, m), "f4"), y=np.zeros(m, "f4"))
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    arenas = [run.program(n=n, m=m).plan.arena_bytes for n, m in shapes]
    assert run._backend._workspaces.bytes == max(arenas)
    assert sum(arenas) > 40 * max(arenas)
    nodes = len(run.program(n=100, m=100).graph)
    assert held < max(arenas) + 100 * 5000 * nodes  # bytes a node of each program that is kept


def test_of_two_hundred_batch_sizes_as_many_programs_are_kept_as_was_said():
    graph = training_graph()
    run = gg.compile(graph, programs=20)
    state = gg.initial_state(graph)
    first = weakref.ref(run.program(n=1))
    seen = []
    tracemalloc.start()
    try:
        for size in range(1, 201):
            run(state, x=rows(size))
            if size % 40 == 0:
                gc.collect()
                seen.append(tracemalloc.get_traced_memory()[0] - run._backend._workspaces.bytes)
    finally:
        tracemalloc.stop()
    assert len(run._programs) == 20 and first() is None
    assert run._backend._workspaces.bytes == run.program(n=200).plan.arena_bytes
    assert seen[-1] < seen[0] * 4  # five times as many, if all were kept


def test_the_program_used_longest_ago_goes_first():
    graph = training_graph()
    run = gg.compile(graph, programs=2)
    first, second = run.program(n=1), run.program(n=2)
    assert run.program(n=1) is first
    run.program(n=3)
    assert run.program(n=1) is first
    assert run.program(n=2) is not second
    with pytest.raises(DeclarationError, match="programs is 0"):
        gg.compile(graph, programs=0)


def test_a_program_that_was_let_go_leaves_nothing_in_the_arena_it_ran_in():
    graph = training_graph()
    run = gg.compile(graph, fuse=True, programs=1)
    state = gg.initial_state(graph)
    run(state, x=rows(200))
    program = weakref.ref(run.program(n=200))
    for size in (150, 100):
        run(state, x=rows(size))
    gc.collect()
    assert program() is None
    (workspace,) = run._backend._workspaces._idle
    assert len(workspace.runs) == 1 and workspace.arena.size >= lower_bound(200)


def lower_bound(rows_count: int) -> int:
    return rows_count * WIDTH * 4


@pytest.mark.parametrize("fuse", [False, True])
def test_threads_that_run_programs_of_many_sizes_do_not_meet_in_an_arena(fuse):
    x, w = gg.input("x", ("n", 128)), gg.parameter("w", (128, 128), gg.normal(0.1))
    y = gg.softmax(gg.tanh(x @ w) + gg.exp(gg.sin(x))) @ w
    run = gg.compile(Graph({"y": y}), fuse=fuse, programs=5)
    state = gg.initial_state(run.source_graph)
    generator = np.random.default_rng(0)
    feeds = [
        generator.normal(size=(40 + 10 * (number % 8), 128)).astype("f4") for number in range(80)
    ]
    expected = [run(state, x=feed)["y"] for feed in feeds]
    barrier = threading.Barrier(8)

    def work(first: int) -> list[np.ndarray]:
        barrier.wait()
        return [run(state, x=feed)["y"] for feed in feeds[first::8]]

    with ThreadPoolExecutor(8) as pool:
        shares = list(pool.map(work, range(8)))
    for first, share in enumerate(shares):
        for wanted, found in zip(expected[first::8], share, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert 1 <= len(run._backend._workspaces._idle) <= 8


def test_runs_that_overlap_have_an_arena_each_and_leave_them_to_the_next():
    pool = Workspaces()
    first, second = pool.borrow(1000), pool.borrow(500)
    assert first is not second and not np.shares_memory(first.arena, second.arena)
    assert first.arena.size >= 1000 and first.arena.ctypes.data % 64 == 0
    pool.give_back(first)
    pool.give_back(second)
    assert pool.borrow(900) is first  # the one that is large enough
    assert pool.borrow(100) is second
    pool.give_back(second)
    larger = pool.borrow(2000)
    assert larger is not second and not pool._idle  # and not one more beside it


def test_a_program_of_its_own_has_an_arena_of_its_own():
    graph = specialise(training_graph(), {"n": 4})
    one, other = lower(plan_of(graph)), lower(plan_of(graph))
    assert one._workspaces is not other._workspaces
    state = gg.initial_state(graph)
    assert one(dict(state), x=rows(4)).keys() == {"loss"}


def test_sizes_that_no_input_shows_are_asked_for_in_words_that_a_call_takes():
    run = gg.compile(Graph({"y": gg.input("x", 3) * gg.cast(gg.iota("n"), "float32")[0]}))
    with pytest.raises(gg.errors.UnknownNameError, match=r"dimension\(s\) n") as error:
        run(x=np.ones(3))
    assert "compiled.program(n=…)(state, …)" in error.value.fix
    with pytest.raises(gg.errors.UnknownNameError, match="missing x"):
        run()
    np.testing.assert_array_equal(run.program(n=32)(x=np.ones(3))["y"], np.zeros(3))
