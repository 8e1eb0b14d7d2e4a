"""Ranks with a part of the batch each compute what one process computes on all of it."""

import dataclasses
import threading

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.models import BUILTIN
from graphgrad.ranks import threads

SMALL = {"layers": 1, "width": 16, "heads": 2, "batch_size": 6, "dropout": 0.1}
MODELS = {
    "feedforward": {},
    "attention": {},
    "gpt": {**SMALL, "context": 16},
    "bert": {**SMALL, "inner": 16, "context": 16},
    "transformer": {**SMALL, "inner": 16, "label_smoothing": 0.1},
}


def on_ranks(graph, batches, cuts, state, bucket_bytes=None, **options):
    """The outputs of each batch (or its error), and the states, of ranks that have the rows between
    the cuts."""
    split = gg.split_batch(graph, bucket_bytes=bucket_bytes)
    made = [None] * (len(cuts) + 1)

    def run(rank, communicator):
        own = {name: value.copy() for name, value in state.items()}
        compiled = gg.compile(split, communicator=communicator, **options)
        outputs = []
        for batch in batches:
            count = max(len(value) for value in batch.values() if np.ndim(value))
            first, last = [0, *cuts, count][rank : rank + 2]
            part = {name: value[first:last] for name, value in batch.items()}
            try:
                outputs.append(compiled(own, part))
            except gg.NonFiniteError as error:
                outputs.append(error)
        made[rank] = outputs, own

    ranks = threads(len(made), 30.0)
    running = [threading.Thread(target=run, args=each) for each in enumerate(ranks)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    assert None not in made
    return made


def alone(graph, batches, state, **options):
    own = {name: value.copy() for name, value in state.items()}
    compiled = gg.compile(graph, **options)
    return [compiled(own, batch) for batch in batches], own


def agree(found, wanted, rtol=1e-12):
    """Numbers are equal on all ranks, values of examples are side by side."""
    expected, last = wanted
    for number, outputs in enumerate(expected):
        for name, value in outputs.items():
            parts = [made[number][name] for made, _ in found]
            if parts[0].shape == value.shape:
                assert len({part.tobytes() for part in parts}) == 1
            else:
                parts = [np.concatenate(parts)]
            np.testing.assert_allclose(parts[0], value, rtol, 1e-15)
    for name, value in last.items():
        np.testing.assert_allclose(found[0][1][name], value, rtol, 1e-12)
        assert len({state[name].tobytes() for _, state in found}) == 1


@pytest.mark.parametrize("model", MODELS)
def test_training_steps_are_those_of_one_process(model):
    """Two and three ranks with uneven parts, dropout and all, in float64."""
    module = BUILTIN[model]
    settings = dataclasses.replace(module.Settings(), dtype="float64", **MODELS[model])
    task = module.task(settings, {})
    graph = task.step(task.graph, settings)
    batches, state = [task.feeds(number) for number in range(2)], gg.initial_state(graph, 0)
    fuse = model != "transformer"  # whose kernels take seconds to compile
    wanted = alone(graph, batches, state, fuse=fuse)
    for cuts in ([2], [1, 3]) if model == "attention" else ([1, 3],):
        agree(on_ranks(graph, batches, cuts, state, fuse=fuse), wanted)


def test_overlap_changes_no_bit():
    module = BUILTIN["attention"]
    task = module.task(module.Settings(), {})
    graph = task.step(task.graph, module.Settings())
    batches, state = [task.feeds(number) for number in range(2)], gg.initial_state(graph, 0)
    with_it, without = (
        on_ranks(graph, batches, [1, 3], state, without=names, bucket_bytes=64, guards="loss")
        for names in ((), "overlap")
    )
    for (_, one), (_, other) in zip(with_it, without, strict=True):
        assert {n: v.tobytes() for n, v in one.items()} == {
            n: v.tobytes() for n, v in other.items()
        }


def test_an_error_between_start_and_wait_leaves_nothing_behind():
    """A loss that is not finite ends the run on all ranks, and the next batch is as ever."""
    module = BUILTIN["feedforward"]
    task = module.task(module.Settings(), {})
    graph = task.step(task.graph, module.Settings())
    wrong = {name: np.full_like(value, np.nan) for name, value in task.feeds(0).items()}
    state = gg.initial_state(graph, 0)
    found = on_ranks(graph, [wrong, task.feeds(1)], [2], state, bucket_bytes=64, guards="loss")
    (wanted,), last = alone(graph, [task.feeds(1)], state, guards="loss")
    for outputs, own in found:
        assert isinstance(outputs[0], gg.NonFiniteError)
        np.testing.assert_allclose(outputs[1]["loss"], wanted["loss"], 1e-5)
        for name, value in last.items():
            np.testing.assert_allclose(own[name], value, 1e-4, 1e-6)


def test_the_delta_of_a_parameter_is_sent_once_in_few_messages():
    module = BUILTIN["feedforward"]
    task = module.task(module.Settings(), {})
    graph = task.step(task.graph, module.Settings())
    sent = [node for node in gg.split_batch(graph) if node.operation is gg.all_reduce]
    parameters = sum(node.type.size for node in graph.parameters.values())
    assert len(sent) == 1 and sent[0].type.size == parameters + 1  # the loss is a sum as well
    many = [n for n in gg.split_batch(graph, bucket_bytes=16) if n.operation is gg.all_reduce]
    assert len(many) > 3 and sum(node.type.size for node in many) == parameters + 1
    assert [node.attributes["number"] for node in many] == list(range(len(many)))
    for number, node in enumerate(many[1:]):
        assert node.heads[1] is many[number]  # one after the other


def forward(of):
    """A graph of x with five examples, and what it is on all of them."""
    x = gg.input("x", ("batch", 4), "float64")
    w = gg.parameter("w", (4, 3), dtype="float64")
    return gg.Graph({"y": of(x, w)})


SPLIT = {
    "sum": lambda x, w: gg.sum(x),
    "mean": lambda x, w: gg.mean(x @ w),
    "mean along the batch": lambda x, w: gg.mean(x, axis=0, keepdims=True),
    "max": lambda x, w: gg.max(x, axis=0),
    "min of a sum": lambda x, w: gg.min(gg.sum(x, axis=1)) + 1.0,
    "sizes": lambda x, w: gg.sum(x) / gg.extent(gg.dimension("batch"), "float64"),
    "a product over the batch": lambda x, w: gg.tanh(x.T @ (x @ w)),
    "a scaled sum beside a plain one": lambda x, w: gg.sum(x) * 2.0 + gg.exp(gg.sum(x) / 9.0),
    "sums subtracted": lambda x, w: gg.sum(x) - gg.sum(gg.exp(x)) / 3.0,
    "a sum times a sum": lambda x, w: gg.sum(x) * gg.sum(x * x),
    "a sum of equal values": lambda x, w: gg.sum(gg.broadcast_to(w[0, 0], x.shape) + 0.0 * x),
    "rows put at places": lambda x, w: gg.scatter_add(gg.cast(x[:, 0] > 0, "int32"), x, 2),
    "half squared error": lambda x, w: gg.half_squared_error(x @ w, 1.0),
    "reshaped": lambda x, w: gg.sum(gg.sin(gg.reshape(x, (-1,)))),
    "transposed": lambda x, w: gg.sum(gg.exp(x.T), axis=1),
    "batches of products": lambda x, w: gg.sum(gg.exp(x[:, :, None] @ x[:, None, :]), axis=0),
}


@pytest.mark.parametrize("case", SPLIT)
def test_what_becomes_of_the_batch(case):
    graph = forward(SPLIT[case])
    drawn = np.random.default_rng(3)
    x, state = drawn.normal(size=(5, 4)), {"w": drawn.normal(size=(4, 3))}
    wanted = alone(graph, [{"x": x}], state)
    for fuse in (False, True):
        agree(on_ranks(graph, [{"x": x}], [1, 2], state, fuse=fuse, smallest_kernel=1), wanted)


REFUSED = {
    "softmax": (lambda x, w: gg.softmax(x, axis=0), "along the axis of the examples"),
    "variance": (lambda x, w: gg.variance(x, axis=0), "otherwise than by a sum"),
    "pairs": (lambda x, w: x @ x.T, "two axes"),
    "pairs of rows": (lambda x, w: x[:, None, :] - x[None, :, :], "two axes"),
    "errors of pairs": (
        lambda x, w: gg.half_squared_error(x[:, 0], x[:, 1][:, None]),
        "two axes",
    ),
    "attention": (
        lambda x, w: gg.dot_product_attention(x[:, None], x[:, None], x[:, None]),
        "is not known",
    ),
    "some examples": (lambda x, w: x[1:], "is not proportional"),
    "numbers": (lambda x, w: x[:, 0] * gg.cast(gg.iota(x.shape[0]), "float64"), "counts examples"),
    "other rows": (lambda x, w: gg.gather(x, gg.cast(x[:, 0], "int32")), "rows of other examples"),
    "mixed axes": (lambda x, w: gg.reshape(x.T, (-1,)), "do not stay together"),
    "joined": (lambda x, w: gg.concatenate([x, x]), "along the axis of the examples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_mixes_examples_is_refused_by_its_line(case):
    of, reason = REFUSED[case]
    with pytest.raises(gg.DeclarationError, match="cannot be split") as caught:
        gg.split_batch(forward(of))
    assert reason in str(caught.value) and "test_split_batch.py:" in caught.value.where


def test_one_rank_is_the_graph_itself():
    graph = forward(SPLIT["a product over the batch"])
    x, state = np.ones((5, 4)), {"w": np.ones((4, 3))}
    assert np.array_equal(
        gg.compile(gg.split_batch(graph))(state, x=x)["y"], gg.compile(graph)(state, x=x)["y"]
    )


def test_the_delta_of_a_sum_over_ranks_is_one():
    x = gg.input("x", (3,), "float64")
    graph = gg.derive(gg.Graph({"loss": gg.sum(gg.all_reduce(x) ** 2.0)}), "loss")
    assert graph.delta(x).operation is gg.all_reduce
