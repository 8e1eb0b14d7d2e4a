"""Starts are early, waits are late, a bucket is left alone between them, and no peak rises."""

import itertools

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.fusion import without_fusion
from graphgrad.ops.collectives import all_reduce, all_reduce_start, sum_of_lower_ranks, wait
from graphgrad.ops.shares import all_gather_start, reduce_scatter_start
from graphgrad.passes import overlap, specialise
from graphgrad.plan import make_overlapped_plan, make_plan
from graphgrad.schedule import make_schedule

LAYERS = 4


def training(bucket_bytes=1, batch=3, dropout=0.0, guarded=True, shards=False):
    """The sized graph of a step of a network whose ranks share a batch."""
    z, truth = gg.input("x", ("batch", 4)), gg.input("truth", ("batch", 4))
    seed, step = gg.constant(0, dtype="int64"), gg.constant(1, dtype="int64")
    for layer in range(LAYERS):
        z = gg.tanh(z @ gg.parameter(f"w{layer}", (4, 4)) + gg.parameter(f"b{layer}", 4))
        if dropout:
            z = z * gg.dropout_mask(seed, step, z.shape, dropout, layer)
    loss = gg.mean((z - truth) ** 2.0)
    graph = gg.derive(gg.Graph({"loss": loss}), "loss")
    deltas = [graph.delta(parameter) for parameter in graph.parameters.values()]
    norm = gg.sqrt(sum(gg.sum(delta**2.0) for delta in deltas))
    updates = {p: p - 0.1 * graph.delta(p) for p in graph.parameters.values()}
    outputs = {"loss": loss, **({"norm": norm} if guarded else {})}
    graph = graph.changed(outputs, updates)
    if shards:
        split = gg.shard_states(graph, 2, bucket_bytes=bucket_bytes).graph
    else:
        split = gg.split_batch(graph, bucket_bytes=bucket_bytes)
    return specialise(split, {"batch": batch})


def plans(graph):
    """The plan with all starts and waits in place, and with them moved."""
    both = overlap(graph)
    schedule = make_schedule(both, [both.outputs[name] for name in both.outputs])
    groups = without_fusion(schedule)
    return make_plan(schedule, groups), make_overlapped_plan(schedule, groups)


def stretch(plan, node):
    place = plan.places[node]
    while place.kind == "view":
        place = plan.places[place.root]
    return range(place.offset, place.offset + node.type.nbytes)


def overlaps(one, other):
    return one.start < other.stop and other.start < one.stop


def written(plan, step):
    for node in step.group.outputs:
        if plan.places[node].kind == "arena":
            yield stretch(plan, node)
    for item in step.scratch:
        yield range(item.offset, item.offset + item.type.nbytes)


def numbers(plan, operation):
    """The place in the program of each node of an operation."""
    found = {step.node: number for number, step in enumerate(plan.steps)}
    return {n.attributes["number"]: found[n] for n in found if n.operation is operation}


CASES = [
    {"bucket_bytes": size, "batch": batch, "guarded": guarded}
    for size, batch, guarded in ((1, 3, True), (1, 64, False), (100, 64, True), (10**6, 1, True))
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bucket_is_left_alone_between_start_and_wait(case):
    before, after = plans(training(**case))
    begun, ended = numbers(after, all_reduce_start), numbers(after, wait)
    assert begun.keys() == ended.keys() and begun
    for number, first in begun.items():
        (bucket,) = after.steps[first].group.outputs
        assert after.places[bucket].kind == "arena"
        assert after.steps[ended[number]].in_place == {after.steps[ended[number]].node: bucket}
        for step in after.steps[first + 1 : ended[number]]:
            assert bucket not in step.group.inputs
            assert not any(overlaps(stretch(after, bucket), each) for each in written(after, step))
    assert after.arena_bytes <= before.arena_bytes


def test_what_is_scattered_and_gathered_is_left_alone():
    before, after = plans(training(bucket_bytes=100, batch=64, shards=True))
    begun = {**numbers(after, reduce_scatter_start), **numbers(after, all_gather_start)}
    ended = numbers(after, wait)
    assert len(begun) > 4 and after.arena_bytes <= before.arena_bytes
    for number, first in begun.items():
        start = after.steps[first].node
        kept = [node for node in (start, start.heads[0]) if after.places[node].kind != "state"]
        for step in after.steps[first + 1 : ended[number]]:
            for node in kept:
                assert not any(
                    overlaps(stretch(after, node), each) for each in written(after, step)
                )
    assert any(ended[number] - first > 10 for number, first in begun.items())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_collectives_keep_their_order_and_waits_come_late(case):
    before, after = plans(training(**case))
    for plan in (before, after):
        assert list(numbers(plan, all_reduce_start)) == sorted(numbers(plan, all_reduce_start))
    begun, ended = numbers(after, all_reduce_start), numbers(after, wait)
    if case["bucket_bytes"] == 1 and case["guarded"]:  # deltas are computed meanwhile
        between = [ended[number] - begun[number] - 1 for number in begun]
        assert max(between) > 20 and sum(between) > 200
    for place in ended.values():
        (result,) = after.steps[place].group.outputs
        following = itertools.dropwhile(is_wait, after.steps[place + 1 :])
        first = next(following, None)
        reads = first is not None and result in {after.places[n].root for n in first.group.inputs}
        assert reads or is_wait(after.steps[place + 1]) or place + 1 == after.guard_position


def is_wait(step):
    return step.node.operation is wait


def test_a_start_follows_what_it_sends_however_late_it_was_declared():
    x, w = gg.input("x", (8, 4)), gg.parameter("w", (4, 4))
    sent = [gg.sum(x * w[0], axis=0), gg.sum(x, axis=1)]
    y = x
    for _ in range(9):
        y = gg.tanh(y @ w)
    bucket = gg.concatenate([gg.reshape(each, (-1,)) for each in sent])
    added = all_reduce.node(bucket, kind="sum", number=0)
    last = all_reduce.node(gg.sum(y), added, kind="sum", number=1)
    before, after = plans(gg.Graph({"y": y * added[0], "last": last}))
    assert numbers(before, all_reduce_start)[0] > 15
    assert numbers(after, all_reduce_start)[0] == 4  # x * w, two sums and the bucket
    assert numbers(after, wait)[0] > 20


def test_a_number_that_the_next_line_needs_is_not_started():
    graph = overlap(training(dropout=0.5))
    (lower,) = [node for node in graph if node.operation is sum_of_lower_ranks]
    starts = [node for node in graph if node.operation is all_reduce_start]
    assert starts[0].heads[1] is lower
    for one, other in itertools.pairwise(starts):
        assert other.heads[1] is one
    assert all(
        node.heads[0].operation is all_reduce_start for node in graph if node.operation is wait
    )


def test_what_has_no_number_and_a_graph_without_ranks_are_left_as_they_are():
    x = gg.input("x", 3)
    graph = gg.Graph({"y": gg.all_reduce(x)})
    assert [n.operation for n in overlap(graph)] == [n.operation for n in graph]
    plain = gg.Graph({"y": gg.tanh(x)})
    assert overlap(plain) is plain


def test_the_value_of_one_rank_is_that_without_overlap():
    graph = training(bucket_bytes=64)
    state = gg.initial_state(graph, 0)
    feeds = {"x": np.ones((3, 4), np.float32), "truth": np.zeros((3, 4), np.float32)}
    runs = [gg.compile(graph, without=without) for without in ((), "overlap")]
    assert ": float32[], 4 bytes over the ranks" in runs[0].source
    assert "op.wait" in runs[0].source and "op.wait" not in runs[1].source
    one, other = ({k: v.copy() for k, v in state.items()} for _ in runs)
    for name, value in runs[0](one, feeds).items():
        assert np.array_equal(value, runs[1](other, feeds)[name])
    for name, value in one.items():
        assert np.array_equal(value, other[name])
