"""Arrays that are passed twice: an input that is a state, two states that are one array."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DeclarationError

SIZE = 8192
"""Above what a kernel is made for."""


def two_updates(fuse):
    """w ← w - 1 and e ← e + 10 x, where a wrong order shows in e."""
    w, e = gg.parameter("w", (SIZE,)), gg.state("e", (SIZE,))
    x = gg.input("x", (SIZE,))
    graph = Graph({"s": gg.sum(x), "x": x * 1.0}, {w: w - 1.0, e: e + 10.0 * x})
    return gg.compile(graph, fuse=fuse)


def fresh():
    start = np.random.default_rng(0).normal(size=SIZE).astype("f4")
    return {"w": start.copy(), "e": np.zeros(SIZE, "f4")}, start


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("first", ["w", "e"])
def test_an_input_that_is_a_states_array_is_read_as_it_was_before_the_run(fuse, first):
    run = two_updates(fuse)
    state, start = fresh()
    state["e"] += 3.0
    before = state[first].copy()
    found = run(state, x=state[first])
    np.testing.assert_array_equal(found["x"], before)
    np.testing.assert_allclose(state["e"], 3.0 + 10.0 * before, 1e-6, 1e-5)
    np.testing.assert_array_equal(state["w"], start - 1)


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("shift", [-64, -1, 1, 64])
def test_an_input_that_overlaps_a_state_is_read_as_it_was_before_the_run(fuse, shift):
    run = two_updates(fuse)
    memory = np.random.default_rng(1).normal(size=SIZE + 128).astype("f4")
    state = {"w": memory[64 : 64 + SIZE], "e": np.zeros(SIZE, "f4")}
    overlapping = memory[64 + shift : 64 + shift + SIZE]
    before, start = overlapping.copy(), state["w"].copy()
    found = run(state, x=overlapping)
    np.testing.assert_array_equal(found["x"], before)
    np.testing.assert_allclose(state["e"], 10.0 * before, 1e-6)
    np.testing.assert_array_equal(state["w"], start - 1)


@pytest.mark.parametrize("fuse", [False, True])
def test_neighbours_in_one_array_and_read_only_views_of_them_are_no_overlap(fuse):
    run = two_updates(fuse)
    memory = np.random.default_rng(2).normal(size=3 * SIZE).astype("f4")
    state = {"w": memory[:SIZE], "e": memory[2 * SIZE :]}
    x = memory[SIZE : 2 * SIZE].view()
    x.flags.writeable = False
    before = memory.copy()
    run(state, x=x)
    np.testing.assert_array_equal(memory[:SIZE], before[:SIZE] - 1)
    np.testing.assert_array_equal(memory[SIZE : 2 * SIZE], before[SIZE : 2 * SIZE])
    expected = before[2 * SIZE :] + np.float32(10) * before[SIZE : 2 * SIZE]
    np.testing.assert_allclose(memory[2 * SIZE :], expected, 1e-5, 1e-5)


@pytest.mark.parametrize("fuse", [False, True])
def test_a_read_only_view_of_a_state_is_copied_too(fuse):
    run = two_updates(fuse)
    state, start = fresh()
    x = state["w"].view()
    x.flags.writeable = False
    run(state, x=x)
    np.testing.assert_allclose(state["e"], 10.0 * start, 1e-6)


@pytest.mark.parametrize("updated", [("w",), ("e",), ("w", "e")])
@pytest.mark.parametrize("shift", [0, 1, 100])
def test_states_that_share_memory_are_refused_where_one_of_them_is_written_to(updated, shift):
    leaves = {"w": gg.parameter("w", (SIZE,)), "e": gg.state("e", (SIZE,))}
    graph = Graph(
        {"s": gg.sum(leaves["w"] * leaves["e"])},
        {leaves[name]: leaves[name] * 0.5 for name in updated},
    )
    run = gg.compile(graph)
    memory = np.ones(SIZE + 128, "f4")
    state = {"w": memory[:SIZE], "e": memory[shift : shift + SIZE]}
    with pytest.raises(DeclarationError, match="share memory") as error:
        run(state)
    assert "'w'" in error.value.problem and "'e'" in error.value.problem
    assert (memory == 1).all()
    run({"w": memory[:SIZE], "e": memory[:SIZE].copy()})  # and the program is as usable as before


def test_a_state_that_is_inside_another_is_found_behind_one_that_is_not():
    leaves = [gg.parameter(name, (size,)) for name, size in (("a", 100), ("b", 10), ("c", 10))]
    total = gg.sum(leaves[0]) + gg.sum(leaves[1]) + gg.sum(leaves[2])
    run = gg.compile(Graph({"s": total}, {leaves[0]: leaves[0] * 0.5}))
    memory = np.ones(200, "f4")
    with pytest.raises(DeclarationError, match="share memory"):
        run({"a": memory[:100], "b": memory[20:30], "c": memory[150:160]})
    run({"a": memory[:100], "b": memory[100:110], "c": memory[105:115]})  # nobody writes to these


def test_states_that_only_are_read_may_be_one_array():
    w, e = gg.parameter("w", (4,)), gg.state("e", (4,))
    shared = np.arange(4, dtype="f4")
    found = gg.compile(Graph({"y": w * e}))({"w": shared, "e": shared})
    assert found["y"].tolist() == [0, 1, 4, 9]


def test_other_arrays_under_the_same_names_are_looked_at_again():
    run = two_updates(False)
    state, start = fresh()
    run(state, x=np.zeros(SIZE, "f4"))
    other, _ = fresh()
    run(other, x=other["w"])
    np.testing.assert_allclose(other["e"], 10.0 * start, 1e-6)
    with pytest.raises(DeclarationError, match="share memory"):
        run({"w": other["w"], "e": other["w"]}, x=start)


def test_two_states_that_start_equal_have_arrays_of_their_own():
    w, e = gg.parameter("w", (3,)), gg.state("e", (3,))
    graph = Graph({"s": gg.sum(w)}, {w: w - 1.0, e: 0.5 * e + 0.5 * w})
    first = np.array([1, 2, 3], "f4")
    state = gg.initial_state(graph, 0, given={"w": first, "e": first})
    gg.compile(graph)(state)
    assert state["w"].tolist() == [0, 1, 2] and state["e"].tolist() == [1, 2, 3]
    assert first.tolist() == [1, 2, 3]


@pytest.mark.parametrize("fuse", [False, True])
def test_what_is_returned_is_no_memory_of_a_state(fuse):
    w, e = gg.parameter("w", (SIZE,)), gg.state("e", (SIZE,))
    graph = Graph({"w": w, "part": w[1:], "next": w * 2.0, "e": e}, {w: w * 2.0, e: w})
    state = {"w": np.ones(SIZE, "f4"), "e": np.zeros(SIZE, "f4")}
    found = gg.compile(graph, fuse=fuse)(state)
    for value in found.values():
        assert not any(np.shares_memory(value, array) for array in state.values())
    assert found["w"][0] == 1 and found["next"][0] == 2 and found["e"][0] == 0
    assert state["w"][0] == 2 and state["e"][0] == 1
