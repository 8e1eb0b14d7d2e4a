"""Sharded states train as whole ones do: the same numbers on every rank, and less of them kept."""

import dataclasses
import threading

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.graph.types import BFLOAT16
from graphgrad.models import BUILTIN
from graphgrad.ranks import threads

SMALL = {"layers": 1, "width": 16, "heads": 2, "batch_size": 6, "dropout": 0.1, "context": 16}


def trained(graph, states, batches, **options):
    """The states of all ranks after the batches, of which each has had its part."""
    size = len(states)

    def run(rank, communicator):
        compiled = gg.compile(graph, communicator=communicator, **options)
        for batch in batches:
            count = max(len(value) for value in batch.values() if np.ndim(value))
            rows = slice(rank * count // size, (rank + 1) * count // size)
            compiled(states[rank], {name: value[rows] for name, value in batch.items()})
        done.append(rank)

    done = []
    running = [threading.Thread(target=run, args=each) for each in enumerate(threads(size, 30.0))]
    for each in running:
        each.start()
    for each in running:
        each.join()
    assert len(done) == size
    return states


def both(model, ranks, steps, fuse=False, bucket_bytes=None, delta_dtype=None, **values):
    """The states after some steps, sharded and whole, and the shards."""
    settings = dataclasses.replace(BUILTIN[model].Settings(), **values)
    task = BUILTIN[model].task(settings, {})
    graph = task.step(task.graph, settings)
    batches = [task.feeds(number) for number in range(steps * settings.accumulate)]
    first = gg.initial_state(graph, 0)
    shards = gg.shard_states(graph, ranks, bucket_bytes=bucket_bytes, delta_dtype=delta_dtype)
    cut = [shards.cut(first, rank) for rank in range(ranks)]
    sharded = trained(shards.graph, [copied(state) for state in cut], batches, fuse=fuse)
    split = gg.split_batch(graph, bucket_bytes=bucket_bytes, delta_dtype=delta_dtype)
    whole = trained(split, [copied(first) for _ in range(ranks)], batches, fuse=fuse)
    for name in whole[0].keys() & sharded[0].keys():
        assert len({state[name].tobytes() for state in sharded}) == 1, name
    return shards.joined(sharded), whole[0], shards


def copied(state):
    return {name: value.copy() for name, value in state.items()}


def agree(found, wanted, tolerance):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, tolerance, tolerance, err_msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_fifty_steps_are_those_of_whole_states(dtype, tolerance):
    """Clipped by the norm of all, with decay for one of two parameters and a moving average."""
    values = {
        "optimiser": "adamw",
        "weight_decay": 0.1,
        "no_decay": "attention.W_Q",
        "average_decay": 0.9,
    }
    found, wanted, shards = both("attention", 3, 50, dtype=dtype, clip_norm=0.05, **values)
    agree(found, wanted, tolerance)
    assert sorted(shards.rows) == [
        f"shard_{number}.{name}"
        for number in (0, 1)
        for name in ("average", "first_moment", "second_moment")
    ]


def test_without_a_norm_the_bits_are_those_of_whole_states():
    """Sums in the order of the ranks are equal, however they are sent."""
    values = {**SMALL, "clip_norm": 0.0}
    found, wanted, shards = both("gpt", 2, 2, bucket_bytes=4000, **values)
    assert all(found[name].tobytes() == value.tobytes() for name, value in wanted.items())
    moments = [name for name in wanted if "moment" in name]
    whole = sum(wanted[name].nbytes for name in moments)
    kept = sum(shards.graph.states[name].type.nbytes for name in shards.rows)
    assert whole / 2 <= kept <= whole / 2 * 1.01
    assert not set(moments) & set(shards.graph.states)


def test_momentum_and_accumulated_gradients_are_sharded():
    values = {"optimiser": "momentum", "accumulate": 2, "dtype": "float64"}
    found, wanted, shards = both("attention", 2, 4, **values)
    agree(found, wanted, 1e-12)
    assert {name.partition(".")[2] for name in shards.rows} == {"accumulated", "velocity"}


def test_deltas_of_16_bits_are_those_of_32_rounded_before_and_after_their_sum():
    """One step of plain descent, whose change is the rate times the sum: sharded as whole, and by a
    reference in NumPy."""
    values = {"optimiser": "sgd", "clip_norm": 0.0, "warmup": 0, "schedule": "constant"}
    found, wanted, shards = both("attention", 2, 1, delta_dtype="bfloat16", **values)
    assert all(found[name].tobytes() == value.tobytes() for name, value in wanted.items())
    sent = [node.type for node in shards.graph if node.operation is gg.reduce_scatter]
    assert sent and all(str(each.dtype) == "bfloat16" for each in sent)
    settings = dataclasses.replace(BUILTIN["attention"].Settings(), **values)
    task = BUILTIN["attention"].task(settings, {})
    graph = task.step(task.graph, settings)
    first, (batch,) = gg.initial_state(graph, 0), [task.feeds(0)]
    count = len(next(iter(batch.values())))
    deltas = {name: graph.delta(leaf) for name, leaf in graph.parameters.items()}
    run = gg.compile(graph.with_outputs(deltas, {}))
    halves = [slice(0, count // 2), slice(count // 2, count)]
    parts = [run(first, {k: v[rows] for k, v in batch.items()}) for rows in halves]
    for name in deltas:
        terms = [part[name].astype(BFLOAT16).astype("float32") for part in parts]
        total = (terms[0] + terms[1]).astype(BFLOAT16).astype("float32")
        moved = first[name] - np.float32(settings.learning_rate) * total
        np.testing.assert_allclose(found[name], moved, 1e-6)
        assert not np.array_equal(total, parts[0][name] + parts[1][name])


def two_layers(optimised):
    x = gg.input("x", ("batch", 4), "float64")
    w, v = (gg.parameter(name, (4, 4), gg.normal(0.5), "float64") for name in ("w", "v"))
    loss = gg.sum((gg.tanh(x @ w) @ v) ** 2.0)
    return optimised(gg.derive(gg.Graph({"loss": loss}), "loss"), w, v)


def own_rule(change):
    """A rule of a user's own: w and v less what `change` makes of their delta and a state."""

    def optimised(graph, *leaves):
        updates = {}
        for leaf in leaves:
            kept = gg.state(f"kept_{leaf.name}", leaf.shape, 0.0, "float64")
            moved, updates[kept] = change(graph.delta(leaf), leaf, kept)
            updates[leaf] = leaf - 0.01 * moved
        return graph.with_outputs(graph.outputs, updates)

    return two_layers(optimised)


RULES = {
    "of its own norm": lambda d, w, s: (d / gg.sqrt(gg.sum(s + d * d)), s + d * d),
    "of a product": lambda d, w, s: (d @ w, s + d),
    "of rows": lambda d, w, s: (d - gg.mean(s, axis=0), s + d),
    "of another's values": lambda d, w, s: (d * gg.softmax(w), s + d),
    "of a number": lambda d, w, s: (d / (1.0 + gg.max(s)), gg.maximum(s, d)),
}


@pytest.mark.parametrize("rule", RULES)
def test_any_rule_gives_what_it_gives_whole(rule):
    """What mixes the elements of a parameter is computed on all of them."""
    graph = own_rule(RULES[rule])
    batches = [{"x": np.random.default_rng(n).normal(size=(7, 4))} for n in range(3)]
    first, shards = gg.initial_state(graph), gg.shard_states(graph, 3)
    cut = [copied(shards.cut(first, rank)) for rank in range(3)]
    found = shards.joined(trained(shards.graph, cut, batches))
    (wanted,) = trained(graph, [first], batches)
    agree(found, wanted, 1e-12)
    assert bool(shards.rows) == (rule in ("of its own norm", "of another's values"))


def test_what_ranks_have_is_cut_and_joined_again():
    graph = own_rule(RULES["of its own norm"])
    first = {
        k: np.random.default_rng(1).normal(size=v.shape) for k, v in gg.initial_state(graph).items()
    }
    for ranks in (1, 2, 5, 40):
        shards = gg.shard_states(graph, ranks)
        joined = shards.joined([shards.cut(first, rank) for rank in range(ranks)])
        assert all(joined[name].tobytes() == value.tobytes() for name, value in first.items())


def test_no_ranks_are_refused():
    with pytest.raises(gg.GraphgradError, match="at least one rank, not 0"):
        gg.shard_states(own_rule(RULES["of a product"]), 0)
