"""The plan, simulated byte by byte: each value is in its place whenever it is read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from planned import plan_of
from random_graphs import QUICK, cases

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.graph import STATEFUL, constant, input
from graphgrad.passes import FUSING_PASSES, PASSES, SPECIALISED_PASSES, optimise
from graphgrad.plan import Plan, Step

FREE, RUBBISH = None, "scratch"


class Memory:
    """The node whose value each byte of the arena and each state holds, step by step."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.arena: list[object] = [FREE] * plan.arena_bytes
        self.states: dict[Node, Node] = {}

    def stretch(self, node: Node) -> range:
        place = self.plan.places[node]
        return range(place.offset, place.offset + node.type.nbytes)

    def owner(self, node: Node) -> Node:
        """The node whose memory is read when `node` is: itself, or the root of a view."""
        place = self.plan.places[node]
        return place.root if place.kind == "view" else node

    def check_holds(self, node: Node) -> None:
        owner = self.owner(node)
        place = self.plan.places[owner]
        if owner.operation is input or owner.operation is constant:
            return
        if place.kind == "state":
            assert self.states.get(place.root, place.root) is owner, f"{owner} was overwritten"
            return
        for byte in self.stretch(owner):
            assert self.arena[byte] is owner, f"byte {byte} of {owner} holds {self.arena[byte]}"

    def run(self) -> None:
        plan = self.plan
        for number, step in enumerate(plan.steps):
            if number == plan.guard_position:
                self.guard()
            self.step(step)
        if plan.guard_position == len(plan.steps):
            self.guard()
        for leaf, node in plan.copies:
            self.check_holds(node)
            self.states[leaf] = node
        for node in plan.graph.outputs.values():
            self.check_holds(node)
        for leaf, node in plan.graph.updates.items():
            found = self.states.get(leaf, leaf)
            assert self.owner(found) is self.owner(node), f"the next {leaf} is {found}"

    def guard(self) -> None:
        assert not self.states, "a state was written before the guards"
        for node in self.plan.guards:
            self.check_holds(node)

    def step(self, step: Step) -> None:
        group, plan = step.group, self.plan
        for node in group.inputs:
            self.check_holds(node)
        read = {self.owner(node) for node in group.inputs}
        written: set[int] = set()
        for node in group.outputs:
            reused = step.in_place.get(node)
            self.check_reused(step, node, reused)
            if plan.places[node].kind == "state":
                assert reused is plan.places[node].root or plan.places[node].root not in read
                self.states[plan.places[node].root] = node
            else:
                written |= self.write(self.stretch(node), node, read - {reused}, written)
        for item in step.scratch:
            stretch = range(item.offset, item.offset + item.type.nbytes)
            written |= self.write(stretch, RUBBISH, read, written)

    def check_reused(self, step: Step, node: Node, reused: Node | None) -> None:
        if reused is not None:
            assert reused in step.group.may_overwrite[node] and reused.type == node.type
            assert sum(self.owner(other) is reused for other in set(step.group.inputs)) == 1

    def write(
        self, stretch: range, holder: object, read: set[Node | None], written: set[int]
    ) -> set[int]:
        """Writes to the arena; the same step must not read or have written these bytes."""
        assert stretch.stop <= self.plan.arena_bytes and written.isdisjoint(stretch)
        for other in read:
            if self.plan.places[other].kind == "arena":
                assert not set(self.stretch(other)) & set(stretch), f"{holder} overlaps {other}"
        for byte in stretch:
            self.arena[byte] = holder
        return set(stretch)


@settings(QUICK, max_examples=80)
@given(case=cases)
@pytest.mark.parametrize("fuse", [False, True], ids=["one by one", "fused"])
def test_no_value_is_overwritten_before_its_last_reader(fuse, case):
    passes = (*PASSES, *SPECIALISED_PASSES, *(FUSING_PASSES if fuse else ()))
    graph, _ = optimise(case.graph, passes)
    guards = [graph.outputs["loss"]]
    plan = plan_of(graph, guards, fuse)
    Memory(plan).run()
    for step in plan.steps:
        assert 0 <= step.live_bytes <= plan.arena_bytes
    kept = [n for n in plan.graph if n.operation is constant or n.operation in STATEFUL]
    assert plan.peak_bytes == plan.arena_bytes + sum(node.type.nbytes for node in kept)


def test_the_check_can_fail():
    """A plan in which two values share their memory is found."""
    x = gg.input("x", 8)
    a, b = gg.exp(x, name="a"), gg.sin(x, name="b")
    plan = plan_of(Graph({"y": a @ b}))
    places = dict(plan.places)
    places[b] = places[a]
    with pytest.raises(AssertionError, match=r"holds|overlaps"):
        wrong = Plan(plan.graph, plan.layouts, plan.steps, places, plan.arena_bytes, (), 3, ())
        Memory(wrong).run()


# ---------------------------------------------------------------- the arena


def arena_of(node: Node) -> int:
    return plan_of(Graph({"y": node})).arena_bytes


def test_elementwise_results_take_the_place_of_a_head_that_dies():
    x = gg.input("x", (16, 16))
    size = 16 * 16 * 4
    assert arena_of(gg.tanh(gg.exp(gg.sin(x)))) == size
    assert arena_of(gg.softmax(gg.exp(x))) <= size + 2 * 64
    kept = gg.exp(x)
    assert arena_of(gg.tanh(kept) * kept) == 2 * size  # kept is read again
    assert arena_of(gg.cos(gg.sin(x)) @ x) == 2 * size  # a product needs both sides
    assert arena_of(gg.gelu(gg.exp(x))) == 2 * size  # gelu reads x after it has written


def test_what_must_not_be_shared_is_not():
    x = gg.input("x", (16, 16))
    size = 16 * 16 * 4
    y = gg.exp(x)
    outputs = {"y": y, "z": gg.tanh(y)}
    assert plan_of(Graph(outputs)).arena_bytes == 2 * size
    assert arena_of(gg.cast(gg.exp(x), "float64")) == 3 * size  # another type
    row = gg.exp(gg.input("row", 16))
    assert arena_of(x + row) == size + 64  # broadcast
    turned = gg.transpose(gg.exp(x))
    assert arena_of(turned + gg.exp(x)) == 2 * size  # seen twice, in another order


def test_the_arena_does_not_grow_with_depth():
    x = gg.input("x", (8, 8))
    node = x
    for _ in range(50):
        node = gg.matmul(gg.tanh(node), x)
    assert arena_of(node) <= 3 * 8 * 8 * 4


def test_views_cost_nothing():
    x = gg.input("x", (4, 6))
    y = gg.transpose(gg.reshape(gg.exp(x), (6, 4)))[1:, ::2]
    plan = plan_of(Graph({"y": y}))
    assert [step.node.operation.name for step in plan.steps] == ["exp"]
    assert plan.places[y].kind == "view" and plan.places[y].root is plan.steps[0].node
    broken = gg.reshape(gg.transpose(gg.exp(x)), -1)  # not in order: this one is computed
    assert len(plan_of(Graph({"y": broken})).steps) == 2


def test_scratch_lives_for_one_step():
    x = gg.input("x", (16, 16))
    plan = plan_of(Graph({"y": gg.log_softmax(gg.log_softmax(x))}))
    size = 16 * 16 * 4
    assert [len(step.scratch) for step in plan.steps] == [2, 2]
    assert plan.arena_bytes == 2 * size + 64  # the second one's takes the first one's place


# ---------------------------------------------------------------- updates and order


def test_a_next_value_is_written_into_its_state_behind_the_guards():
    x, w = gg.input("x", 3), gg.parameter("w", 3)
    loss = gg.sum(x * w, name="loss")
    graph = Graph({"loss": loss}, {w: gg.tanh(w, name="next")})
    plan = plan_of(graph, [loss])
    assert plan.guard_position == 2 and plan.places[graph["next"]].kind == "state"
    assert plan.copies == ()


def test_a_guard_that_is_no_output_is_kept_until_it_is_checked():
    x, w = gg.input("x", 8), gg.parameter("w", 8)
    guard = gg.sum(gg.exp(x), name="guard")
    y = gg.exp(gg.sum(gg.sin(x * w)))
    graph = Graph({"y": y}, {w: w * 0.5}, {"guard": guard}, order=[guard])
    plan = plan_of(graph, [guard])
    Memory(plan).run()


def test_a_next_value_is_copied_where_the_old_one_is_still_read():
    w, v = gg.parameter("w", 3), gg.state("v", 3)
    turned = gg.exp(w)
    graph = Graph({"y": turned}, {w: turned, v: w + v})
    plan = plan_of(graph)
    assert plan.copies == ((w, turned),)  # it is an output: computed before any state is written
    assert plan.places[graph.updates[v]].kind == "state"
    Memory(plan).run()


def test_the_text_of_a_plan():
    x, w = gg.input("x", (2, 4)), gg.parameter("w", (4, 4))
    y = gg.sum(gg.tanh(x @ w, name="z\n"), name="y")
    plan = plan_of(Graph({"y": y}, {w: w * 0.5}), [y])
    assert (
        str(plan)
        == """\
4 steps, arena 128 bytes, peak 196 bytes
    0  matmul           float32[2, 4]                @0           live           64  matmul
    1  tanh             float32[2, 4]                @0           live           64  z\\n
    2  sum              float32[]                    @64          live          128  y
    3  multiply         float32[4, 4]                state        live           64  multiply"""
    )


def test_empty_values_have_places_too():
    x = gg.input("x", (0, 3))
    plan = plan_of(Graph({"y": gg.exp(x) + gg.sum(gg.sin(x), 0)}))
    Memory(plan).run()
    assert plan.arena_bytes >= 64 and np.isfinite(plan.peak_bytes)


def test_an_index_that_is_refused_leaves_the_parameters_as_they_were():
    """Without guards, too: none is written before the outputs are computed."""
    table, count = gg.parameter("table", (4, 2), gg.normal(1.0)), gg.state("count", (2,))
    ids = gg.input("ids", 3, "int32")
    following = gg.multiply(table, 0.5, name="following")
    rows = gg.gather(following, ids, name="rows")
    updates = {count: count + 1.0, table: following}
    program = gg.compile(gg.Graph({"sum": gg.sum(rows)}, updates))
    state = gg.initial_state(program.graph, seed=1)
    before = {name: array.copy() for name, array in state.items()}
    with pytest.raises(gg.GraphgradError):
        program(state, ids=[0, 1, 9])
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)
    program(state, ids=[0, 1, 3])
    np.testing.assert_array_equal(state["count"], before["count"] + 1.0)


def conditions(updates):
    """The names of the conditions of the steps that have one, of a graph with these updates."""
    graph = Graph({"y": gg.input("y", ())}, updates)
    plan = gg.compile(graph, fuse=True, smallest_kernel=1).program().plan
    found = [step.condition for step in plan.steps if step.condition is not None]
    return [plan.graph.name_of(node) for node in found]


def test_a_step_that_writes_states_only_where_a_scalar_is_true_has_it_as_its_condition():
    x, v, w = gg.input("x", (3,)), gg.state("v", (3,)), gg.state("w", (3,))
    on = gg.input("on", (), "bool")
    rows = gg.input("rows", (3,), "bool")
    assert conditions({w: gg.where(on, x, w)}) == ["on"]
    assert conditions({w: gg.where(on, x, v)}) == []  # it becomes v where `on` is false
    assert conditions({w: gg.where(on, w, x)}) == []
    assert conditions({w: gg.where(rows, x, w)}) == []
    kept = gg.where(on, x, w)
    graph = Graph({"y": kept}, {w: kept, v: kept})  # two read it after the step, from the state
    run = gg.compile(graph, fuse=True, smallest_kernel=1)
    for value in (False, True):
        state = {"w": np.ones(3, "float32"), "v": np.full(3, 5, "float32")}
        found = run(state, x=np.zeros(3), on=value)["y"].tolist()
        assert found == state["w"].tolist() == state["v"].tolist() == [float(not value)] * 3
