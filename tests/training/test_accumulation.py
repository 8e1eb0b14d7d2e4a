"""Accumulated gradients: a step of several batches is the step of one large batch, to rounding."""

import dataclasses
import os

import numpy as np
import pytest
from small_runs import QUIET, Model, again, at_step, interrupt, losses, new, state_bytes

import graphgrad as gg
from graphgrad.compile import compile
from graphgrad.errors import ConfigurationError, DeclarationError, NonFiniteError
from graphgrad.graph import initial_state
from graphgrad.models import transformer
from graphgrad.training.accumulation import LOSS_OF_STEP, PART
from graphgrad.training.checkpoint import load_checkpoint
from graphgrad.training.optimisers import STEP, randomness_of_run, training_step
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.trainer import train

WORDS = 11
SMALL = transformer.Settings(
    layers=1,
    width=8,
    heads=2,
    inner=8,
    label_smoothing=0.1,
    dtype="float64",
    optimiser="adamw",
    weight_decay=0.01,
    clip_norm=0.5,
    learning_rate=0.01,
    epsilon=1e-3,  # the gradient of a key bias is 0 but for rounding, which 1e-8 would magnify
    warmup=2,
)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def padded(rows, width):
    """Ids from 3 on, each row followed by <pad>."""
    made = np.zeros((len(rows), width), np.int32)
    for row, ids in zip(made, rows, strict=True):
        row[: len(ids)] = ids
    return made


def pairs(generator, count):
    """Sources and targets of one to seven ids."""
    lengths = generator.integers(1, 8, (count, 2))
    return [tuple(generator.integers(4, WORDS, size) for size in pair) for pair in lengths]


def batch_of(some, extra=0):
    """A batch as wide as its longest pair, or `extra` wider."""
    sources, targets = zip(*some, strict=True)
    source, target = (max(map(len, side)) + extra for side in (sources, targets))
    return {
        "source": padded(sources, source),
        "target_input": padded([[1, *ids[:-1]] for ids in targets], target),
        "target_output": padded(targets, target),
    }


def test_batches_of_other_sizes_and_padding_give_the_step_of_one_large_batch():
    generator = np.random.default_rng(0)
    graph = transformer.training_graph(SMALL, WORDS, WORDS)
    gathering = dataclasses.replace(SMALL, accumulate=3)
    large = compile(training_step(graph, SMALL), guards=("loss", "gradient_norm"))
    small = compile(training_step(graph, gathering), guards=("loss", "gradient_norm"), fuse=True)
    one = initial_state(large.graph, seed=1)
    many = initial_state(small.graph, seed=1)
    for step in range(3):
        some = pairs(generator, 9)
        wanted = large(one, **batch_of(some))
        for part, (rows, extra) in enumerate(((some[:2], 0), (some[2:3], 3), (some[3:], 1))):
            before = {name: many[name].copy() for name in one}
            assert int(many[PART]) == part and int(many[STEP]) == step
            found = small(many, **batch_of(rows, extra))
            if part < 2:
                assert state_bytes(before) == state_bytes({name: many[name] for name in one})
        close = {"rtol": 1e-12, "atol": 1e-13}
        np.testing.assert_allclose(found[LOSS_OF_STEP], wanted["loss"], **close)
        np.testing.assert_allclose(found["gradient_norm"], wanted["gradient_norm"], **close)
        assert found["learning_rate"] == wanted["learning_rate"]
        for name, array in one.items():
            np.testing.assert_allclose(many[name], array, **close, err_msg=name)


def quadratic(loss_of, **outputs):
    x, w = gg.input("x", ("batch", 2), "float64"), gg.parameter("w", (2,), 0.5, "float64")
    loss = loss_of((x - w) ** 2.0)
    return gg.Graph({"loss": loss, **{name: made(x) for name, made in outputs.items()}})


@pytest.mark.parametrize(
    ("loss_of", "outputs"),
    [
        (gg.mean, {}),
        (gg.sum, {}),
        (lambda squares: gg.sum(squares[:, 0]) + gg.sum(squares[:, 1]), {}),
        (lambda squares: gg.mean(squares) * 2.0, {"weight": lambda x: gg.sum(gg.ones_like(x))}),
    ],
)
def test_means_sums_and_losses_that_say_their_weight(loss_of, outputs):
    graph = quadratic(loss_of, **outputs)
    settings = TrainingSettings(optimiser="momentum", learning_rate=0.01, dtype="float64")
    one = compile(training_step(graph, settings))
    many = compile(training_step(graph, dataclasses.replace(settings, accumulate=2)))
    x = np.random.default_rng(0).normal(size=(5, 2))
    first, second = initial_state(one.graph), initial_state(many.graph)
    wanted = one(first, x=x)
    many(second, x=x[:1])
    found = many(second, x=x[1:])
    assert found[LOSS_OF_STEP] == pytest.approx(float(wanted["loss"]), rel=1e-14)
    np.testing.assert_allclose(second["w"], first["w"], rtol=1e-13)


@pytest.mark.parametrize(
    "loss_of",
    [
        lambda squares: gg.mean(squares) + 1.0,
        lambda squares: gg.sum(squares) / 4.0,
        lambda squares: gg.max(squares),
    ],
)
def test_a_loss_whose_weight_is_not_known_is_an_error(loss_of):
    graph, settings = quadratic(loss_of), TrainingSettings(accumulate=2)
    with pytest.raises(DeclarationError, match="what the loss is a mean over") as caught:
        training_step(graph, settings)
    assert "'weight'" in str(caught.value.fix)
    training_step(graph, TrainingSettings())  # one batch needs no weight
    many = quadratic(gg.mean, weight=lambda x: x[:, 0])
    with pytest.raises(DeclarationError, match=r"'weight' is float64\[batch\]"):
        training_step(many, settings)
    with pytest.raises(ConfigurationError, match="accumulate must be at least 1"):
        TrainingSettings(accumulate=0)


def test_no_two_batches_share_a_mask():
    x = gg.input("x", ("batch", 64))
    w = gg.parameter("w", (64,), 1.0)
    loss = gg.mean(gg.layers.dropout(x * w, 0.5, randomness_of_run()), name="loss")
    step = training_step(gg.Graph(loss), TrainingSettings(accumulate=3))
    run, state = compile(step, fetch="dropout.mask"), initial_state(step)
    seen = {run(state, x=np.ones((2, 64)))["dropout.mask"].tobytes() for _ in range(6)}
    assert len(seen) == 6 and int(state[STEP]) == 2 and int(state[PART]) == 0


@pytest.mark.parametrize("extra", [{}, {"clip_norm": 0.0, "average_decay": 0.9}])
def test_only_the_last_batch_of_a_step_pays_for_the_update(extra):
    """Its kernels run under a condition, each one parameter's; without it nothing is changed."""
    settings = dataclasses.replace(SMALL, accumulate=2, **extra)
    graph = training_step(transformer.training_graph(settings, WORDS, WORDS), settings)
    compiled = compile(graph, guards=("loss", "gradient_norm"), fuse=True, smallest_kernel=1)
    program = compiled.program(batch=2, source=3, target=3)
    held = [step for step in program.plan.steps if step.condition is not None]
    ends = program.graph["optimiser.ends"]
    assert {step.condition for step in held} == {ends}
    written = {program.plan.places[node].root for step in held for node in step.group.outputs}
    names = {gg.graph.leaf_name(leaf) for leaf in written}
    changed = {gg.graph.leaf_name(leaf) for leaf in graph.updates}
    sums = {name for name in changed if name.endswith((".accumulated", ".weights", ".losses"))}
    assert names == changed - sums - {STEP, PART}
    lines = [line for line in program.source.splitlines() if line.startswith("    if ")]
    assert len(lines) == len(held) == len(graph.parameters)


def test_two_optimisers_count_the_same_batches():
    a, b = (gg.parameter(name, (), gg.full(1.0), "float64") for name in "ab")
    x = gg.input("x", ("batch",), "float64")
    graph = gg.Graph({"first": gg.mean(a * x), "second": gg.sum(b * x)})
    settings = TrainingSettings(optimiser="sgd", accumulate=2, clip_norm=0, schedule="constant")
    step = gg.training.optimised(graph, settings, graph["first"], parameters="a")
    step = gg.training.optimised(step, settings, "second", parameters="b", name="other")
    run, state = compile(step), initial_state(step)
    for values in ([1.0], [2.0, 6.0]):
        found = run(state, x=values)
    assert int(state[STEP]) == 1 and found[LOSS_OF_STEP] == pytest.approx(3.0)
    rate = float(found["learning_rate"])
    assert state["a"] == pytest.approx(1 - rate * 3.0) and state["b"] == pytest.approx(
        1 - rate * 9.0
    )


# ---------------------------------------------------------------- runs


def test_a_run_that_is_stopped_within_a_step_ends_with_the_same_bytes(tmp_path):
    whole = new(Model(), tmp_path / "whole", accumulate=3)
    assert train(whole, progress=QUIET()).ending == "finished"
    asked = []
    model = Model()
    model.before_step = lambda batch, feeds: asked.append(batch)
    run = new(model, tmp_path / "stopped", accumulate=3)
    for batch in (7, 8, 23):  # steps are of three batches: twice within the third, once in the last
        model.before_step = at_step(batch, interrupt)
        assert train(run, progress=QUIET()).ending == "interrupted"
        run = again(model, tmp_path / "stopped")
        done = min(batch + 1, 36)
        assert run.next_batch == done and run.step == done // 3 == int(run.state[STEP])
    model.before_step = lambda step, feeds: None
    assert train(run, progress=QUIET()).ending == "finished"
    first, second = (load_checkpoint(each.folder.checkpoints) for each in (whole, run))
    assert state_bytes(first.arrays) == state_bytes(second.arrays)
    assert losses(whole.folder) == losses(run.folder)
    assert [line["examples"] for line in losses(run.folder)] == [12] * 12  # three batches of four


def test_a_batch_that_is_not_finite_ends_the_run_before_the_sums_take_it_in(tmp_path):
    model = Model()
    run = new(model, tmp_path / "run", accumulate=3, checkpoint_every=1)

    def planted(batch, feeds):
        if batch == 7:
            feeds["x"][0, 0] = np.inf

    model.before_step = planted
    with pytest.raises(NonFiniteError, match="step 3: "):
        train(run, progress=QUIET())
    assert all(np.isfinite(run.state[name]).all() for name in run.state)
    assert load_checkpoint(run.folder.checkpoints).step == 2


def test_accumulation_is_kept_for_good(tmp_path):
    new(Model(), tmp_path / "run", accumulate=2)
    with pytest.raises(ConfigurationError, match=r"a run keeps its accumulate \(2\)"):
        again(Model(), tmp_path / "run", accumulate=3)
