"""The loss scale of float16: a sequence by hand, PyTorch's GradScaler, and runs that go on."""

from __future__ import annotations

import os

import numpy as np
import pytest
from small_runs import QUIET, Model, again, losses, new, state_bytes

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import ConfigurationError, DeclarationError, NonFiniteError
from graphgrad.training.optimisers import optimised, training_step
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.trainer import train

GUARDS = ("loss", "gradient_norm")
SCALE = "optimiser.loss_scale"


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def settings_of(**values) -> TrainingSettings:
    usual = {"schedule": "constant", "warmup": 0, "clip_norm": 0.0, "precision": "fp16"}
    return TrainingSettings(**{**usual, "loss_scale": 2.0**17, "loss_scale_steps": 2, **values})


def line() -> Graph:
    """y = x w with a loss whose delta to y is 1 for one example: scaled by 2¹⁶ it is ∞ in float16,
    by 2¹⁵ it is not."""
    x, w = gg.input("x", ("batch", 1)), gg.parameter("w", (1, 1), 0.5)
    return Graph({"loss": gg.mean(gg.matmul(x, w, name="y"), name="loss")})


def compiled(step: Graph, **options):
    return gg.compile(step, guards=GUARDS, precision="fp16", **options), gg.initial_state(step, 0)


BY_HAND = [
    # scale, whether w moves, updates done after the step
    *((2.0**17, False, 0), (2.0**16, False, 0), (2.0**15, True, 1), (2.0**15, True, 2)),
    *((2.0**16, False, 2), (2.0**15, True, 3), (2.0**15, True, 4), (2.0**16, False, 4)),
]
"""Halved where ∞ arises, doubled after two finite steps in a row."""


@pytest.mark.parametrize("way", [{}, {"fuse": True, "smallest_kernel": 1}], ids=["plain", "kernel"])
def test_a_sequence_by_hand(way):
    run, state = compiled(training_step(line(), settings_of(optimiser="sgd")), **way)
    w = 0.5
    for number, (scale, moves, updates) in enumerate(BY_HAND, 1):
        found = run(state, x=[[2.0]])
        assert float(found["loss_scale"]) == scale
        assert float(found["gradient_norm"]) == (2.0 if moves else 0.0)
        w = float(np.float32(w) - np.float32(1e-3) * np.float32(2.0)) if moves else w
        assert state["w"].item() == pytest.approx(w, rel=1e-6)
        assert int(state["optimiser.updates_done"]) == updates
        assert int(state["run.step"]) == number  # batches and the schedule go on


@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam", "adamw"])
def test_parameters_and_scales_are_those_of_pytorchs_grad_scaler(optimiser):
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(3)
    start = generator.normal(size=(4, 3)).astype(np.float32)
    weight = torch.tensor(start, requires_grad=True)
    theirs = {
        "sgd": lambda: torch.optim.SGD([weight], lr=0.01),
        "momentum": lambda: torch.optim.SGD([weight], lr=0.01, momentum=0.9),
        "adam": lambda: torch.optim.Adam([weight], lr=0.01, betas=(0.9, 0.98)),
        "adamw": lambda: torch.optim.AdamW([weight], lr=0.01, betas=(0.9, 0.98), weight_decay=0.1),
    }[optimiser]()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=3)
    x, w = gg.input("x", ("batch", 4)), gg.parameter("w", (4, 3))
    loss = gg.mean(gg.matmul(x, w) ** 2.0, name="loss")
    decay = {"weight_decay": 0.1} if optimiser == "adamw" else {}
    settings = settings_of(
        optimiser=optimiser,
        learning_rate=0.01,
        loss_scale=2.0**20,
        loss_scale_steps=3,
        clip_norm=1.0,
        **decay,
    )
    run, state = compiled(training_step(Graph(loss), settings))
    state["w"][...] = start
    scales = []
    for number in range(16):
        batch = generator.normal(size=(8, 4)).astype(np.float32)
        if number in (6, 11):
            batch *= 300.0  # ∞ in float16 at the scale of before
        scales.append(scaler.get_scale())
        # rounded as the pass rounds: the gradient of the weight itself stays float32
        rounded = weight + (weight.half().float() - weight).detach()
        y = torch.from_numpy(batch).half().float() @ rounded
        y.register_hook(lambda delta: delta.half().float())
        value = (y**2).mean()
        theirs.zero_grad()
        scaler.scale(value).backward()
        scaler.unscale_(theirs)
        torch.nn.utils.clip_grad_norm_([weight], 1.0)
        scaler.step(theirs)
        scaler.update()
        found = run(state, x=batch)
        assert float(found["loss_scale"]) == scales[-1]
        np.testing.assert_allclose(state["w"], weight.detach().numpy(), rtol=2e-3, atol=2e-4)
    assert len(set(scales)) > 4 and scales[-1] > min(scales)


def test_a_skipped_step_changes_nothing_but_the_scale_and_the_count():
    own = gg.state("own", (), 1.0)
    graph = Graph(line().outputs, {own: own * 2.0})
    run, state = compiled(training_step(graph, settings_of()))
    before = {name: array.copy() for name, array in state.items()}
    run(state, x=[[2.0]])
    changed = {name for name, array in state.items() if (array != before[name]).any()}
    assert changed == {SCALE, "run.step"}
    for _ in range(2):
        run(state, x=[[2.0]])
    assert state["own"] == 2.0 and state["w"] != before["w"]


def test_what_no_scale_can_help_ends_the_run_as_in_float32():
    x, w = gg.input("x", ("batch", 1)), gg.parameter("w", (1, 1), 0.5)
    steep = Graph({"loss": gg.mean(gg.matmul(x, w)) * 1e30})  # its delta is ∞ without any scale
    run, state = compiled(training_step(steep, settings_of(loss_scale=1.0)))
    before = {name: array.copy() for name, array in state.items()}
    with pytest.raises(NonFiniteError, match="gradient_norm_used is inf"):
        run(state, x=[[1.0]])
    assert all((state[name] == before[name]).all() for name in state)
    with pytest.raises(NonFiniteError, match="loss"):
        run(state, x=[[np.nan]])


def test_deltas_are_scaled_and_the_graph_shows_it():
    step = training_step(line(), settings_of())
    assert step.delta("loss") is step.states[SCALE]
    unscaled = step["optimiser.w.unscaled"]
    assert unscaled.operation is gg.divide and unscaled.heads[1] is step.states[SCALE]
    for precision in ("fp32", "tf32", "bf16"):
        graph = training_step(line(), settings_of(precision=precision))
        assert SCALE not in graph.states and "loss_scale" not in graph.outputs


def test_gradients_of_several_batches_share_a_scale():
    """One batch of two that is not finite: the update of both is left out, and the scale halved."""
    settings = settings_of(accumulate=2, loss_scale=2.0**16, optimiser="sgd")
    run, state = compiled(training_step(line(), settings))
    for rows in (1, 2, 2, 2):  # the delta of one row is twice that of two, and too large
        run(state, x=[[2.0]] * rows)
    assert float(state[SCALE]) == 2.0**15 and int(state["run.step"]) == 2
    assert int(state["optimiser.updates_done"]) == 1
    assert state["w"].item() == pytest.approx(0.5 - 1e-3 * 2.0)


def test_each_optimiser_has_its_own_scale():
    x = gg.input("x", ("batch", 1))
    a, b = gg.parameter("a", (1, 1), 0.5), gg.parameter("b", (1, 1), 0.5)
    outputs = {"first": gg.mean(x @ a), "second": gg.mean(x @ b) * 2.0**-8}
    step = optimised(Graph(outputs), settings_of(), "first", "a")
    step = optimised(step, settings_of(), "second", "b", name="other")
    run = gg.compile(step, guards=[*outputs, "gradient_norm"], precision="fp16")
    state = gg.initial_state(step)
    found = run(state, x=[[1.0]])
    assert float(found["loss_scale"]) == float(found["other.loss_scale"]) == 2.0**17
    assert (float(state[SCALE]), float(state["other.loss_scale"])) == (2.0**16, 2.0**17)
    assert state["a"] == 0.5 and state["b"] != 0.5 and int(state["run.step"]) == 1


def test_optimisers_by_name_take_a_scale():
    step = gg.sgd(line(), 1e-3, loss_scale=1024.0)
    run, state = compiled(step)
    assert float(run(state, x=[[2.0]])["loss_scale"]) == 1024.0
    assert "optimiser.loss_scale" not in gg.sgd(line(), 1e-3).states
    with pytest.raises(DeclarationError, match="loss_scale must be a power of two"):
        gg.adam(line(), loss_scale=1000.0)


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigurationError, match="precision must be one of fp32, tf32, bf16, fp16"):
        TrainingSettings(precision="half")
    with pytest.raises(ConfigurationError, match="bf16 is one of models in float32") as error:
        TrainingSettings(precision="bf16", dtype="float64")
    assert "--precision fp32" in error.value.fix
    for wrong in (0.0, 3.0, float("inf")):
        with pytest.raises(ConfigurationError, match="loss_scale must be"):
            TrainingSettings(loss_scale=wrong)
    with pytest.raises(ConfigurationError, match="loss_scale_steps must be at least 1"):
        TrainingSettings(loss_scale_steps=0)
    derived = gg.derive(line(), "loss")
    with pytest.raises(DeclarationError, match=r"without a loss scale(.|\n)*leave the derivation"):
        training_step(derived, settings_of())


# ---------------------------------------------------------------- runs

FP16 = {"precision": "fp16", "loss_scale": 2.0**22, "loss_scale_steps": 3}


@pytest.mark.parametrize("values", [FP16, {"precision": "bf16"}], ids=["fp16", "bf16"])
def test_a_run_that_goes_on_has_the_bytes_of_one_that_was_never_stopped(values, tmp_path):
    model = Model()
    whole, twin, short = (new(model, tmp_path / name, **values) for name in ("a", "b", "c"))
    for run in (whole, twin):
        train(run, progress=QUIET())
    assert state_bytes(whole.state) == state_bytes(twin.state)
    assert losses(whole.folder) == losses(twin.folder)
    if values is FP16:
        scales = [record["loss_scale"] for record in whole.folder.metrics()]
        assert scales[0] == 2.0**22 and len(set(scales)) > 2
    train(short, progress=QUIET())
    resumed = again(model, tmp_path / "c", step=5)
    assert resumed.step == 5
    assert resumed.settings.precision == values["precision"]
    train(resumed, progress=QUIET())
    assert state_bytes(resumed.state) == state_bytes(whole.state)


def test_a_run_goes_on_in_another_precision_and_says_what_becomes_of_the_scale(tmp_path):
    model = Model()
    run = new(model, tmp_path / "run", steps=4, checkpoint_every=4)
    train(run, progress=QUIET())
    weight = run.state["weight"].copy()
    run = again(model, tmp_path / "run", steps=8, **FP16)
    assert "its loss scale is that of a new run" in " ".join(run.warnings)
    np.testing.assert_array_equal(run.state["weight"], weight)
    assert int(run.state["optimiser.updates_done"]) == 4 and float(run.state[SCALE]) == 2.0**22
    train(run, progress=QUIET())
    run = again(model, tmp_path / "run", steps=9)
    assert run.settings.precision == "fp16" and not run.warnings
    run = again(model, tmp_path / "run", steps=12, precision="bf16")
    assert "without a loss scale" in " ".join(run.warnings) and SCALE not in run.state
    train(run, progress=QUIET())
    assert [record["step"] for record in run.folder.metrics()] == list(range(1, 13))


def test_a_run_in_mixed_precision_is_recorded_as_it_runs(tmp_path):
    model = Model()
    plain = new(model, tmp_path / "plain", precision="bf16")
    recorded = new(model, tmp_path / "recorded", precision="bf16", inspect_every=2)
    for run in (plain, recorded):
        train(run, progress=QUIET())
    assert state_bytes(plain.state) == state_bytes(recorded.state)
